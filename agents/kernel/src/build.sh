#!/bin/sh
# Compiles the eBPF programs into the folder given. The objects are committed beside the loader
# and `make bpf-check` compares them octet by octet, so the compiler must be the same major.
# Without stack colouring, because the verifier lets nobody but root (CAP_PERFMON) use a place on
# the stack for a pointer and later for a number. No debug information: the objects hold no paths and depend on nothing but source and compiler.
set -eu
NEEDED=14 # Debian 12
CLANG=${CLANG:-clang-$NEEDED}
here=$(cd "$(dirname "$0")" && pwd)
out=$(cd "$1" && pwd)

if ! command -v "$CLANG" >/dev/null; then
	echo "clang $NEEDED is needed to build the eBPF programs (Debian 12: apt-get install clang llvm libbpf-dev)" >&2
	exit 1
fi
found=$("$CLANG" -dumpversion | cut -d. -f1)
if [ "$found" != "$NEEDED" ]; then
	echo "clang $NEEDED is needed to build the eBPF programs; $CLANG is version $found" >&2
	exit 1
fi
cd "$here"
for name in media signalling; do
	"$CLANG" -target bpf -mcpu=v2 -O2 -Wall -Wextra -Wno-unused-parameter -Werror \
		-fno-ident -fno-addrsig -mllvm -no-stack-coloring -idirafter "/usr/include/$(uname -m)-linux-gnu" \
		-c "$name.bpf.c" -o "$out/$name.bpf.o"
	llvm-strip --strip-debug "$out/$name.bpf.o"
done
