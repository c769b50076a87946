#!/bin/bash
# Builds the kernel of a board from Debian's linux-source and prints its path.
#   kernel.sh [BOARD]      default x86_64
# The result is cached outside the tree, keyed by the fragment's options, the
# version of the source package, the compiler and the recipe number below; a
# second call only prints.
set -euo pipefail

tree=$(cd "$(dirname "$0")/../.." && pwd)
board=${1:-x86_64}
fragment=$tree/board/$board/kernel.fragment
recipe=1    # raise it when a change in this script changes the kernel
source_package=linux-source-6.1
source_tar=/usr/src/$source_package.tar.xz
cache=${LINTEL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/lintel}

die() { echo "kernel: $*" >&2; exit 1; }

[ -r "$fragment" ] || die "board $board has no kernel fragment ($fragment)"
[ -r "$source_tar" ] || die "$source_tar is missing: install the package $source_package"

case $board in
x86_64) arch=x86_64 cross='' image=arch/x86/boot/bzImage ;;
*aarch64*) arch=arm64 cross=aarch64-linux-gnu- image=arch/arm64/boot/Image ;;
*armv7*) arch=arm cross=arm-linux-gnueabihf- image=arch/arm/boot/zImage ;;
*) die "board $board: which kernel architecture is that?" ;;
esac
command -v "${cross}gcc" >/dev/null || die "${cross}gcc is missing"

version=$(dpkg-query -W -f '${Version}' "$source_package")
options() { grep -E '^(CONFIG_|# CONFIG_.* is not set$)' "$fragment"; }
key=$({ options; echo "$recipe $version"; "${cross}gcc" --version | head -1; } | sha256sum | cut -c1-16)
out=$cache/kernel/$board-$key
if [ -e "$out/done" ]; then echo "$out/image"; exit 0; fi

mkdir -p "$out"
exec 9>"$out/lock"
flock 9    # two builds of one kernel would share a directory
if [ -e "$out/done" ]; then echo "$out/image"; exit 0; fi

say() { echo "kernel: $*" >&2; }
log=$out/build.log
work=$out/build
say "building $source_package $version for $board (about 9 minutes on two cores; log: $log)"
rm -rf "$work" && mkdir -p "$work"
tar -C "$work" --strip-components=1 -xf "$source_tar"
cd "$work"

# The same bytes for the same inputs, whoever builds.
export KBUILD_BUILD_USER=lintel KBUILD_BUILD_HOST=lintel KBUILD_BUILD_VERSION=1
export KBUILD_BUILD_TIMESTAMP='2026-01-01 00:00:00 +0000'
make_kernel() { make ARCH="$arch" CROSS_COMPILE="$cross" "$@"; }

{
    make_kernel tinyconfig
    KCONFIG_CONFIG=.config scripts/kconfig/merge_config.sh -m .config "$fragment"
    make_kernel olddefconfig
} >"$log" 2>&1 || { tail -20 "$log" >&2; die "configuring failed, see $log"; }

# Kconfig drops what it does not know or cannot satisfy, silently.
unmet=0
while IFS= read -r line; do
    case $line in
    CONFIG_*=*) grep -qxF -- "$line" .config && continue ;;
    '# CONFIG_'*' is not set')
        name=${line#\# }; name=${name%% *}
        grep -q "^$name=" .config || continue ;;
    *) continue ;;
    esac
    name=${line#\# }; name=${name%%[= ]*}
    say "not honoured: $line (.config has: $(grep -w "$name" .config || echo nothing))"
    unmet=1
done <"$fragment"
[ $unmet = 0 ] || die "the lines above of $fragment are not in the kernel's configuration: fix them or the options they depend on"
cp .config "$out/config"

nproc=$(nproc)
make_kernel -j"$nproc" "${image##*/}" >>"$log" 2>&1 &
pid=$!
while kill -0 $pid 2>/dev/null; do
    read -r -t 15 <> <(:) || true     # a timed wait that ends with nothing
    kill -0 $pid 2>/dev/null && say "$(grep -c '^  CC' "$log" || true) files compiled" || true
done
wait $pid || { grep -n -m5 -i 'error' "$log" >&2 || tail -20 "$log" >&2; die "the build failed, see $log"; }

cp "$image" "$out/image"
touch "$out/done"
rm -rf "$work"
say "done: $(stat -c %s "$out/image") bytes"
echo "$out/image"
