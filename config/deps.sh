#!/bin/sh
# Installs the Debian packages that Callguard's tests, demo and eBPF build use. Idempotent.
#   python3-venv            the virtual environment
#   sip-tester              sipp, which makes the lab's real calls
#   tshark, tcpdump         open captures and are the peers of the benchmarks
#   iproute2, procps        network namespaces, sysctl
#   rtpengine-daemon, kamailio, nftables   the media relay and SIP proxy that the gate stands between
#   iputils-ping, isc-dhcp-client, dnsmasq-base, keepalived, chrony, lldpd, iptables   what else runs on a
#                           node, and must come to no harm beside the sentry
#   age                     the reference implementation that must open our segments
#   faketime                a real process under a wrong wall clock
#   lua5.4                  runs the FreeSWITCH example, as Kamailio runs its own
#   qemu-system-x86, seabios, busybox-static   virtual machines with Debian's stock kernels (kernels.sh)
#   clang, llvm, libbpf-dev, bpftool   rebuild the eBPF objects for the comparison with the committed ones
set -eu
packages="python3-venv sip-tester tshark tcpdump iproute2 procps age faketime rtpengine-daemon kamailio nftables iputils-ping isc-dhcp-client dnsmasq-base keepalived chrony lldpd iptables lua5.4 qemu-system-x86 seabios busybox-static clang llvm libbpf-dev bpftool make gcc git"
missing=""
for package in $packages; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" -eq 0 ]; then as_root=""
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then as_root="sudo"
else
    echo "missing Debian packages:$missing" >&2
    echo "install them as root: apt-get install$missing" >&2
    exit 0
fi
echo "installing Debian packages:$missing"
$as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
# The tests start relay and proxy themselves: the installation must not start them as services,
# now or at the next boot: that relay would be one that nobody guards.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap '$as_root rm -f "$policy"' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
    $as_root chmod 755 "$policy"
fi
# shellcheck disable=SC2086 # the list is meant to be split
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
for service in rtpengine-daemon kamailio keepalived chrony lldpd; do
    case "$missing " in
    *" $service "*) ! command -v systemctl >/dev/null || $as_root systemctl --quiet disable "$service" || true ;;
    esac
done
