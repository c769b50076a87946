//! The table of targets. What one asserts stands at its function.

pub mod backup;
pub mod boot;
pub mod cli;
pub mod config;
pub mod controld;
pub mod dhcp_client;
pub mod dhcp_server;
pub mod dhcpv4;
pub mod differential;
pub mod dns;
pub mod dns_forward;
pub mod ipc;
pub mod link;
pub mod netlink;
pub mod nft;
pub mod ntp;
pub mod ntp_client;
pub mod ntp_server;
pub mod plan;
pub mod probe;
pub mod stored;
pub mod streams;
pub mod web;

use arbitrary::Unstructured;

use crate::{Tally, Target};

/// Every target, those first whose calls take longest.
pub const TARGETS: &[Target] = &[
    row("plan_diff", plan::plan_diff, dns_forward::steps, 200),
    row(
        "plan_converge",
        plan::plan_converge,
        dns_forward::steps,
        200,
    ),
    row("controld", controld::controld, dns_forward::steps, 600),
    row("config", config::config, config::config_text, 200),
    row(
        "config_change",
        config::config_change,
        dns_forward::steps,
        24,
    ),
    row("ipc", ipc::ipc, ipc::message_octets, 120),
    row("api", config::api, config::api_text, 30),
    row(
        "dhcp_server",
        dhcp_server::dhcp_server,
        dns_forward::steps,
        400,
    ),
    row(
        "dhcp_client",
        dhcp_client::dhcp_client,
        dns_forward::steps,
        400,
    ),
    row(
        "dns_forward",
        dns_forward::dns_forward,
        dns_forward::steps,
        400,
    ),
    row(
        "ntp_client",
        ntp_client::ntp_client,
        dns_forward::steps,
        400,
    ),
    row(
        "ntp_server",
        ntp_server::ntp_server,
        dns_forward::steps,
        400,
    ),
    row("stored_image", stored::stored_image, dns_forward::steps, 12),
    row(
        "stored_facts",
        stored::stored_facts,
        stored::fact_octets,
        60,
    ),
    row("stored_rows", stored::stored_rows, dns_forward::steps, 200),
    row("time_names", streams::time_names, dns_forward::steps, 400),
    row("supervise", boot::supervise, dns_forward::steps, 800),
    row(
        "http_connection",
        web::http_connection,
        dns_forward::steps,
        400,
    ),
    row("backup", backup::backup, backup::backup_text, 400),
    row("sealed", backup::sealed, backup::sealed_octets, 300),
    row("port_match", backup::port_match, dns_forward::steps, 100),
    row("gpt", boot::gpt, dns_forward::steps, 60),
    row("channel", streams::channel, streams::datagram_octets, 120),
    row("http_head", web::http_head, web::request_octets, 120),
    row("http_answer", web::http_answer, web::answer_octets, 160),
    row("http_form", web::http_form, web::form_octets, 60),
    row("cli_words", cli::cli_words, cli::word_octets, 60),
    row("boot_text", boot::boot_text, boot::text_octets, 60),
    row("role_output", boot::role_output, boot::output_octets, 60),
    row(
        "dns_frames",
        streams::dns_frames,
        streams::stream_octets,
        120,
    ),
    row("dns_message", dns::dns_message, dns::message_octets, 120),
    row("dns_packet", dns::dns_packet, dns::message_octets, 120),
    row("dns_name", dns::dns_name, dns::name_octets, 40),
    row(
        "dhcpv4_message",
        dhcpv4::dhcpv4_message,
        dhcpv4::message_octets,
        320,
    ),
    row(
        "dhcpv4_options",
        dhcpv4::dhcpv4_options,
        dhcpv4::option_octets,
        40,
    ),
    row("echoes", probe::echoes, dns_forward::steps, 400),
    row(
        "resolve_question",
        probe::resolve_question,
        dns_forward::steps,
        400,
    ),
    row("icmp", probe::icmp, probe::icmp_octets, 80),
    row("frame", link::frame, link::frame_octets, 80),
    row("arp", link::arp, link::arp_octets, 28),
    row("bpf", link::bpf, link::frame_octets, 80),
    row("diff_dns", differential::diff_dns, dns::message_octets, 120),
    row(
        "diff_dhcpv4",
        differential::diff_dhcpv4,
        dhcpv4::message_octets,
        320,
    ),
    row(
        "diff_rtnl",
        differential::diff_rtnl,
        netlink::rtnl_octets,
        120,
    ),
    row("ntp", ntp::ntp, ntp::packet_octets, 48),
    row("nl", netlink::nl, netlink::datagram_octets, 120),
    row("rtnl", netlink::rtnl, netlink::rtnl_octets, 120),
    row("ct", netlink::ct, netlink::flow_octets, 160),
    row("nft", nft::nft, nft::object_octets, 160),
    row("nft_elements", nft::nft_elements, nft::element_octets, 120),
];

const fn row(
    name: &'static str,
    run: fn(&[u8]) -> Tally,
    sample: fn(&mut Unstructured<'_>) -> Vec<u8>,
    len_typical: usize,
) -> Target {
    Target {
        name,
        run,
        sample,
        len_typical,
    }
}
