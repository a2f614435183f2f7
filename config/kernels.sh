#!/bin/sh
# Fetches the stock kernels of Debian 12 and 13 that the tests boot in virtual machines (tests/vm).
# Idempotent; needs no root. They come from where this machine's own apt sources get their Debian,
# with signatures checked; what is fetched is what the meta package depends on, whatever its version.
# Each goes to $CALLGUARD_KERNELS/SUITE (by default ~/.cache/callguard/kernels): vmlinuz and modules.
# Remove a suite's folder to have it fetched anew.
set -eu
cache="${CALLGUARD_KERNELS:-${XDG_CACHE_HOME:-$HOME/.cache}/callguard/kernels}"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
meta=linux-image-cloud-amd64

# Every place and suite of this machine's Debian, as apt itself has them, with another suite's name.
sources() { # SUITE
    apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' 'Component: main' |
        sort -u | while read -r place suite; do
        case "$suite" in
        "$ours" | "$ours"-updates | "$ours"-security)
            echo "deb [signed-by=$keyring] $place $1${suite#"$ours"} main" ;;
        esac
    done
}

apt() { # COMMAND WORDS…, with lists and a cache of our own
    command=$1
    shift
    "$command" -qq -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=- \
        -o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache" -o APT::Sandbox::User= \
        -o APT::Architecture=amd64 -o APT::Architectures::=amd64 \
        -o Acquire::Languages=none "$@"
}

fetch() { # SUITE
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
    sources "$1" >"$work/sources.list"
    [ -s "$work/sources.list" ] || return 1
    apt apt-get update || return 1
    package=$(apt apt-cache depends "$meta" | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | tail -n 1)
    [ -n "$package" ] || return 1
    (cd "$work" && apt apt-get download "$package") || return 1
    mkdir "$work/found" "$work/tree"
    dpkg-deb --fsys-tarfile "$work/$package"_*.deb | tar -x -C "$work/tree" || return 1
    mv "$work/tree"/boot/vmlinuz-* "$work/found/vmlinuz"
    for modules in "$work/tree/lib/modules" "$work/tree/usr/lib/modules"; do
        [ ! -d "$modules" ] || mv "$modules"/* "$work/found/modules"
    done
    mkdir -p "$cache"
    rm -rf "$cache/$1.new"
    cp -R "$work/found" "$cache/$1.new"
    rm -rf "${cache:?}/$1"
    mv "$cache/$1.new" "$cache/$1"
    rm -rf "$work"
}

missing=""
for suite in bookworm trixie; do
    [ -e "$cache/$suite/vmlinuz" ] || missing="$missing $suite"
done
[ -z "$missing" ] && exit 0
ours=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
for suite in $missing; do
    echo "fetching the kernel of Debian $suite"
    (fetch "$suite") || echo "the kernel of Debian $suite cannot be fetched from this machine's apt sources:" \
        "the tests in its virtual machine are skipped (in CI they fail)" >&2
done
