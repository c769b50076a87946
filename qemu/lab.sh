#!/bin/bash
# The lab guest: our kernel in QEMU with Debian's programs, in which the same
# namespace tests run that the build host runs; for what its kernel lacks.
#
#   qemu/lab.sh [PACKAGE...]     cargo packages whose tests run (default: those that
#                                work on the kernel)
#   qemu/lab.sh --only NAME,... [PACKAGE...]   these test binaries (online, nlmon, ...)
#   qemu/lab.sh --shell          a root shell in the guest instead
#
# The exit status is the guest's. A test that says SKIPPED on the host must pass here,
# but for those that drive Chromium.
set -euo pipefail
# shellcheck source=tests/setup.sh
. "$(dirname "$0")/../tests/setup.sh"
cd "$tree"

shell=''
only=''
if [ "${1:-}" = --shell ]; then shell=1; shift; fi
if [ "${1:-}" = --only ]; then only=${2:?--only names a test binary}; shift 2; fi
packages=("$@")
[ ${#packages[@]} -gt 0 ] || packages=(lintel-netlink lintel-rt lintel-roles netns-tests)

install_packages "$tree/tests/packages"
need_rust
out=$tree/target/lab
mkdir -p "$out"

# --- Debian's programs, with everything that their packages depend on.
programs=(bash dash coreutils util-linux mount grep sed mawk findutils procps kmod python3-minimal libpython3-stdlib
    iproute2 iputils-ping nftables dnsmasq-base bind9-dnsutils knot-dnsutils udhcpc isc-dhcp-client
    kea-dhcp4-server unbound lighttpd nmap iperf3 curl tcpdump wireguard-tools chrony jq strace e2fsprogs openssl)
closure() {
    # Depends and Pre-Depends of installed packages, without alternatives that are not there.
    dpkg-query -W -f '${Package}\t${Pre-Depends}, ${Depends}\t${Provides}\t${Version}\n' | python3 -c '
import re, sys
need, provided, version = {}, {}, {}
for line in sys.stdin:
    name, depends, provides, number = line.rstrip("\n").split("\t")
    need[name] = [[re.split(r"[ (:]", a.strip())[0] for a in d.split("|")] for d in depends.split(",") if d.strip()]
    version[name] = number
    for p in provides.split(","):
        provided.setdefault(re.split(r"[ (:]", p.strip())[0], name)
todo, seen = sys.argv[1:], {"base-files", "netbase", "libc-bin"}
todo += list(seen)
while todo:
    name = todo.pop()
    if name not in need:
        continue
    seen.add(name)
    for any_of in need[name]:
        for one in any_of:
            one = one if one in need else provided.get(one)
            if one:
                if one not in seen: todo.append(one)
                break
skip = {"perl", "perl-base", "perl-modules-5.36", "systemd", "debconf", "adduser", "gcc-12-base", "init-system-helpers"}
for name in sorted(seen - skip):
    print(name, version.get(name, ""))
' "${programs[@]}"
}
list=$(closure)
root=$cache/lab/root-$(printf '3\n%s\n' "$list" | sha256sum | cut -c1-16).squashfs
if [ ! -e "$root" ]; then
    say "packing Debian's programs for the lab guest ($(wc -l <<<"$list") packages)"
    mkdir -p "$cache/lab"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    {
        cut -d' ' -f1 <<<"$list" | xargs dpkg-query -L
        # What dpkg does not list: choices among alternatives, and the people.
        find /etc/alternatives
        printf '%s\n' /etc/passwd /etc/group /etc/ld.so.cache /etc/nsswitch.conf /etc/ssl/certs/ca-certificates.crt
    } | grep -vE '^/usr/share/(doc|man|locale|info|lintian|i18n|bash-completion|perl|zoneinfo)|/__pycache__' |
        sed -E 's#^/(bin|sbin|lib|lib32|lib64|libx32)/#/usr/\1/#' | sort -u |
        while IFS= read -r path; do
            if [ -L "$path" ] || [ -f "$path" ]; then echo "${path#/}"; fi
        done >"$work/files"
    mkdir "$work/image"
    tar -C / -cf - -T "$work/files" 2>/dev/null | tar -C "$work/image" -xf -
    for name in bin sbin lib lib64; do
        rm -rf "${work:?}/image/$name"
        mkdir -p "$work/image/usr/$name"
        ln -s "usr/$name" "$work/image/$name"
    done
    mkdir -p "$work/image"/{proc,sys,dev,tmp,run,mnt,root,etc,lab,var/lib,var/log}
    mksquashfs "$work/image" "$root.new" -noappend -quiet -no-progress -all-root -comp zstd -Xcompression-level 3 ||
        fail "packing the lab guest" "is squashfs-tools installed, and is there room in $cache?"
    mv "$root.new" "$root"
fi

# --- Our test binaries and the files they read, at the paths they were built for.
say "building the tests that run in the lab guest"
cargo build --quiet --package lintel || fail "building lintel" "see above"
flags=()
for name in "${packages[@]}"; do flags+=(--package "$name"); done
messages=$(cargo test --no-run --message-format=json "${flags[@]}" 2>/dev/null) ||
    fail "building the tests" "run: cargo test --no-run ${flags[*]}"
stage=$out/stage
rm -rf "$stage" && mkdir -p "$stage/bin"
jq -r 'select(.profile.test == true and .executable != null) | [.executable, .target.name, (.manifest_path | sub("/Cargo.toml$"; ""))] | @tsv' <<<"$messages" |
    while IFS=$'\t' read -r executable name manifest; do
        [ -z "$only" ] || [[ ",$only," == *",$name,"* ]] || continue
        crate=$(basename "$manifest")
        cp "$executable" "$stage/bin/$crate-$name"
        printf '%s\t%s\n' "$crate-$name" "$manifest" >>"$stage/list"
    done
cp target/debug/lintel "$stage/bin/lintel"
strip --strip-debug "$stage"/bin/* 2>/dev/null || true
mkdir "$stage/tree"
tar -cf - --exclude=./target --exclude=./.git --exclude=./web/node_modules . | tar -C "$stage/tree" -xf -
echo "$tree" >"$stage/where"
cat >"$stage/main" <<'GUEST'
#!/bin/bash
# Runs in the guest, in the overlay: every test binary of the list.
export PATH=/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin HOME=/root TERM=linux LINTEL_LAB=1 LINTEL_BIN=/lab/bin/lintel
export LANG=C.UTF-8
where=$(cat /lab/where)
mkdir -p "$(dirname "$where")" && ln -s /lab/tree "$where"
ulimit -n 65536
ip link set lo up
if grep -q lab.shell /proc/cmdline; then
    echo "lab: the tests are in /lab/bin; leave with exit"
    setsid -c bash </dev/ttyS0 >/dev/ttyS0 2>&1
    echo "lab: exit 0"
    exit
fi
failed=0
while IFS=$'\t' read -r name manifest; do
    cd "$manifest" || cd /
    echo "lab: running $name"
    if "/lab/bin/$name" --show-output --test-threads=2 </dev/null >/tmp/out 2>&1; then
        grep -E '^(test |SKIPPED|test result)' /tmp/out
    else
        cat /tmp/out
        echo "lab: FAILED $name"
        failed=1
    fi
    # Chromium and schemathesis need nothing of the kernel that the host lacks, and stay there.
    if grep -E '^SKIPPED' /tmp/out | grep -vE 'chromium|schemathesis' >/dev/null; then
        echo "lab: FAILED $name: the lab guest must run what the host skips"
        failed=1
    fi
done </lab/list
echo "lab: exit $failed"
GUEST
cat >"$stage/init" <<'GUEST'
#!/bin/bash
# PID 1 of the lab guest: a writable root over the read-only one, then main.
export PATH=/usr/bin:/usr/sbin
mount -t proc proc /proc
mount -t tmpfs -o mode=755 tmpfs /mnt
mkdir /mnt/{upper,work,root}
mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/root
cd /mnt/root
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t devtmpfs devtmpfs dev
mkdir -p dev/pts dev/shm
mount -t devpts devpts dev/pts
mount -t tmpfs tmpfs dev/shm
mount -t tmpfs tmpfs tmp
mount -t tmpfs tmpfs run
mount -t squashfs -o ro /dev/vdb lab
# Not only chroot: who enters a mount namespace of the tests lands at its real root.
mkdir -p old
pivot_root . old
cd /
/lab/main
echo o >/proc/sysrq-trigger
sleep 30
GUEST
chmod +x "$stage/init" "$stage/main"
rm -f "$out/tests.squashfs"
mksquashfs "$stage" "$out/tests.squashfs" -noappend -quiet -no-progress -all-root -comp zstd -Xcompression-level 1

# --- The guest.
kernel=$(firmware/xtask/kernel.sh x86_64)
# The first words of init come from the second disk: the first holds only Debian.
append="console=ttyS0 quiet no_timer_check root=/dev/vda rootfstype=squashfs ro panic=-1 init=/bin/bash -- -c \"mount -t squashfs -o ro /dev/vdb /lab && exec /bin/bash /lab/init\""
[ -z "$shell" ] || append=${append/panic=-1/panic=-1 lab.shell}
machine=(-M q35 -accel "${LINTEL_ACCEL:-tcg}" -smp 2 -m 1536 -nodefaults -display none -no-reboot
    -device virtio-rng-pci -device i6300esb
    -drive "if=none,id=root,format=raw,readonly=on,file=$root" -device virtio-blk-pci,drive=root
    -drive "if=none,id=tests,format=raw,readonly=on,file=$out/tests.squashfs" -device virtio-blk-pci,drive=tests
    -kernel "$kernel" -append "$append")
if [ -n "$shell" ]; then exec qemu-system-x86_64 "${machine[@]}" -serial mon:stdio; fi
say "booting the lab guest"
timeout "${LINTEL_LAB_SECONDS:-1500}" qemu-system-x86_64 "${machine[@]}" -serial stdio </dev/null | tr -d '\r' | tee "$out/serial.log"
grep -q '^lab: exit 0$' "$out/serial.log" ||
    fail "tests in the lab guest" "the failures stand above and in $out/serial.log; qemu/lab.sh --shell opens the guest"
