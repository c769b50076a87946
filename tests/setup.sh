# Sourced by tests/run and qemu/run: what a fresh Debian 12 machine lacks.
# Needs a Rust toolchain and Python; everything else is installed or made here.

tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${LINTEL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/lintel}
mkdir -p "$cache"
# Debian keeps nft, tc, lighttpd and mkfs where users do not look.
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

say() { echo "== $*" >&2; }

# fail STEP WHAT-TO-DO: every way out of a broken set-up.
fail() {
    echo "FAILED: $1" >&2
    echo "  what to do: $2" >&2
    exit 1
}

# install_packages FILE...: apt packages of the lists that are missing, in one go.
install_packages() {
    local missing=() name
    command -v dpkg-query >/dev/null ||
        fail "looking for Debian packages" "this needs Debian 12; elsewhere install what tests/packages names and set LINTEL_NO_APT=1"
    [ -z "${LINTEL_NO_APT:-}" ] || return 0
    while IFS= read -r name; do
        # Alternatives: a chromium or busybox under another package name is not looked for.
        dpkg-query -W -f '${db:Status-Status}\n' "$name" 2>/dev/null | grep -qx installed || missing+=("$name")
    done < <(cat "$@" | sed 's/#.*//; s/[[:space:]]*$//; /^$/d')
    [ ${#missing[@]} -gt 0 ] || return 0

    local root=()
    [ "$(id -u)" = 0 ] || root=(sudo)
    say "installing ${#missing[@]} Debian packages: ${missing[*]}"
    "${root[@]}" apt-get update -qq ||
        fail "apt-get update" "check the network and /etc/apt/sources.list (bookworm and bookworm-security, main)"
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2 ||
        fail "installing packages" "run: apt-get install ${missing[*]}"
    # Daemons that came along belong to the tests, in namespaces of their own.
    local unit
    for unit in lighttpd unbound kea-dhcp4-server chrony; do
        if [ -d /run/systemd/system ] && [[ " ${missing[*]} " == *" $unit "* ]]; then
            "${root[@]}" systemctl disable --now "$unit" >/dev/null 2>&1 || true
        fi
    done
}

# need_rust: any stable toolchain that knows the edition.
need_rust() {
    command -v cargo >/dev/null || export PATH=$HOME/.cargo/bin:$PATH
    command -v cargo >/dev/null || fail "looking for cargo" "install Rust: https://rustup.rs, or apt-get install cargo-web rustc-web"
}

# schemathesis_at VERSION: the judge of the interface, in an environment of Python's own that is
# kept beside the other caches; prints its path.
schemathesis_at() {
    local home=$cache/schemathesis-$1
    if [ ! -e "$home/whole" ]; then
        say "installing schemathesis $1 into $home"
        rm -rf "$home"
        python3 -m venv "$home" && "$home/bin/pip" install --quiet "schemathesis==$1" >&2 ||
            fail "installing schemathesis" "check that pip reaches a package index"
        touch "$home/whole"
    fi
    echo "$home/bin/schemathesis"
}

# accelerator: prints kvm when a probe boot proves that it works, else tcg.
# A /dev/kvm that accepts a machine and never runs it exists in the wild.
accelerator() {
    local kernel=$1 initramfs=$2 answer
    if [ ! -w /dev/kvm ]; then echo tcg; return; fi
    answer=$cache/accel-$(cat /proc/sys/kernel/random/boot_id)
    if [ ! -e "$answer" ]; then
        if timeout 10 qemu-system-x86_64 -M q35 -accel kvm -cpu host -m 128 -nodefaults -display none -no-reboot \
            -serial stdio -kernel "$kernel" -initrd "$initramfs" -append 'console=ttyS0 quiet' </dev/null 2>/dev/null |
            grep -q -m1 'trivial: init started'; then
            echo kvm >"$answer"
        else
            echo tcg >"$answer"
        fi
    fi
    cat "$answer"
}
