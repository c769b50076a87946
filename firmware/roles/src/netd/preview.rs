//! What a plan would send and cut.

use lintel_model::observed::ObservedState;
use lintel_model::preview::{
    Flow, FlowsCut, PREVIEW_FLOWS_MAX, PREVIEW_MESSAGES_MAX, Preview, StepPreview,
};
use lintel_model::step::Plan;
use lintel_netlink::Kernel;
use lintel_plan::Cuts;
use lintel_wire::ct::FlowRepr;

/// Asks the kernel for what it takes and changes nothing.
pub(super) fn of(kernel: &mut Kernel, plan: &Plan, observed: Option<&ObservedState>) -> Preview {
    let mut left = PREVIEW_MESSAGES_MAX;
    let steps = plan.steps.iter();
    Preview {
        steps: steps
            .map(|step| bounded(kernel.preview(&step.action), &mut left))
            .collect(),
        flows: observed.and_then(|observed| cut(kernel, plan, observed)),
    }
}

fn bounded(mut step: StepPreview, left: &mut usize) -> StepPreview {
    let surplus = step.messages.len().saturating_sub(*left);
    step.messages.truncate(*left);
    *left -= step.messages.len();
    step.omitted = u64::try_from(surplus).unwrap_or(u64::MAX);
    step
}

/// `None` when the kernel does not tell its flows: then nobody says that none is cut.
fn cut(kernel: &mut Kernel, plan: &Plan, observed: &ObservedState) -> Option<FlowsCut> {
    let flows = match kernel.flows() {
        Ok(flows) => flows,
        Err(error) => {
            log::warn!("the kernel does not tell its flows: {error}");
            return None;
        }
    };
    let cuts = Cuts::of(plan, observed);
    let mut answer = FlowsCut {
        tracked: u64::try_from(flows.len()).unwrap_or(u64::MAX),
        ..FlowsCut::default()
    };
    for flow in flows.iter().filter(|flow| cuts.cut(&ends(flow))) {
        answer.cut += 1;
        if answer.named.len() < PREVIEW_FLOWS_MAX {
            answer.named.push(words(flow));
        }
    }
    Some(answer)
}

fn ends(flow: &FlowRepr) -> Flow {
    Flow {
        source: flow.original.source,
        destination: flow.original.destination,
        reply_source: flow.reply.source,
        reply_destination: flow.reply.destination,
    }
}

fn words(flow: &FlowRepr) -> String {
    let protocol = match flow.original.protocol {
        1 => "icmp",
        6 => "tcp",
        17 => "udp",
        58 => "icmpv6",
        _ => "ip",
    };
    let (from, to) = (flow.original.source, flow.original.destination);
    match flow.original.ports {
        Some((_, port)) => format!("{protocol} from {from} to {to} port {port}"),
        None => format!("{protocol} from {from} to {to}"),
    }
}
