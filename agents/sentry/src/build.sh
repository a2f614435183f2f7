#!/bin/sh
# Compiles the sentry's eBPF programs into the folder given, as light skeletons: what the kernel
# itself can load (agents/kernel/skeleton.py). They are committed beside their loader, and
# `make bpf-check` compares them octet by octet, so the tools must be the same: Debian 12's.
set -eu
NEEDED=14 # Debian 12
CLANG=${CLANG:-clang-$NEEDED}
here=$(cd "$(dirname "$0")" && pwd)
out=$(cd "$1" && pwd)

if ! command -v "$CLANG" >/dev/null || ! PATH=$PATH:/usr/sbin command -v bpftool >/dev/null; then
	echo "clang $NEEDED and bpftool are needed to build the eBPF programs (Debian 12: apt-get install clang llvm libbpf-dev bpftool)" >&2
	exit 1
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$here"
build() { # NAME SOURCE [OPTION [OPTION OF pack.py]]
	"$CLANG" -target bpf -mcpu=v3 -O2 -g -Wall -Wextra -Wno-unused-parameter -Wno-missing-declarations -Werror \
		-fno-ident -fdebug-prefix-map="$here=." -idirafter "/usr/include/$(uname -m)-linux-gnu" ${3:+"$3"} \
		-D__TARGET_ARCH_x86 -c "$2.bpf.c" -o "$scratch/$1.bpf.o"
	llvm-strip --strip-debug "$scratch/$1.bpf.o"
	PATH=$PATH:/usr/sbin bpftool gen skeleton -L "$scratch/$1.bpf.o" name "$1" >"$scratch/$1.h"
	python3 pack.py "$scratch/$1.h" "$out/$1.bpf" ${4:+"$4"}
}
build holders holders
build rogue rogue -DWITH_URING
build rogue_calls rogue
build shield shield '' --apart
build shield_lsm shield -DAS_LSM --apart
