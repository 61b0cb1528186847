#!/bin/sh
# The network that RUN steps are connected to: a network namespace that routes between them and slirp4netns, which opens
# their connections as an ordinary process of the host. Runs in the host's network for as long as the buildkitd does.
#
#   router.sh DIR PID     prints `ready`; ends process PID when the network breaks, so that the daemon is started again
#
#   RUN step (cni.sh) ──veth──▶ router namespace ──tap0──▶ slirp4netns ──sockets──▶ host's network, less what is prohibited
#
# Each step has a link of its own to the router, and the router looks up the packets of steps in table 100, which has
# `prohibit` for other steps, the host's own addresses and metadata services, and a default route for everything else.
set -eu
dir=$1 daemon=$2
# Addresses of the documentation range 198.51.100.0/24 (RFC 5737): no network has them.
# .2 is slirp4netns, .3 its forwarder to the host's DNS resolver, .100 the router, the rest are steps.
net=198.51.100
# Link-local and metadata services: 169.254.0.0/16 of most clouds, 100.100.100.200 of Alibaba's, 168.63.129.16 of Azure's.
metadata='169.254.0.0/16 100.100.100.200 168.63.129.16'

# Becomes a program that dies with this script, and whose end ends the daemon. To be called in the background.
become() {
    # shellcheck disable=SC2016
    exec setpriv --pdeathsig KILL sh -c 'daemon=$1; shift; setpriv --pdeathsig KILL "$@"; kill -TERM "$daemon"' \
        sh "$daemon" "$@"
}

fifo() {
    rm -f "$1"
    mkfifo "$1"
}

# The namespace lives as long as the process that holds it.
fifo "$dir/held"
setpriv --pdeathsig KILL unshare --net sh -c 'echo held; exec sleep infinity >/dev/null' >"$dir/held" &
holder=$!
read -r answer <"$dir/held"
[ "$answer" = held ]
router=/proc/$holder/ns/net
echo "$router" >"$dir/router"

fifo "$dir/up"
become slirp4netns --configure --mtu=65520 --cidr=$net.0/24 --disable-host-loopback --enable-sandbox --enable-seccomp \
    --ready-fd=3 --netns-type=path "$router" tap0 3>"$dir/up" >"$dir/slirp4netns.log" 2>&1 &
# It writes one byte, without a newline.
if [ -z "$(head -c 1 "$dir/up")" ]; then
    echo "slirp4netns: $(cat "$dir/slirp4netns.log")" >&2
    exit 1
fi

# shellcheck disable=SC2016
nsenter --net="$router" sh -eu -c '
    cd /proc/sys/net
    # Only packets of steps have their source address checked; those of slirp4netns come from everywhere.
    echo 0 >ipv4/conf/all/rp_filter
    echo 0 >ipv4/conf/tap0/rp_filter
    echo 1 >ipv4/conf/default/rp_filter
    echo 1 >ipv4/ip_forward
    # A step hears at once, and every time, that an address is prohibited.
    echo 0 >ipv4/icmp_ratelimit
    # slirp4netns asks for the addresses of steps, and the router answers for them at once.
    echo 0 >ipv4/neigh/tap0/proxy_delay
    echo 1 >ipv4/conf/tap0/proxy_arp
    if [ -d ipv6 ]; then
        echo 1 >ipv6/conf/all/disable_ipv6
        echo 1 >ipv6/conf/default/disable_ipv6
    fi
    ip link set lo up
    ip -batch -
' <<RULES
rule add pref 100 iif tap0 lookup main
rule add pref 101 iif lo lookup main
rule add pref 102 to $net.3 ipproto udp dport 53 lookup main
rule add pref 103 to $net.3 ipproto tcp dport 53 lookup main
rule add pref 104 lookup 100
rule del pref 32766
rule del pref 32767
route add prohibit $net.0/24 table 100
$(for address in $metadata; do echo "route add prohibit $address table 100"; done)
RULES

# Prohibits what is the host's own now, and no longer what was. A failure ends this script, and the daemon with it.
known=' '
prohibit_host_addresses() {
    now=' '
    while read -r _ address _; do now="$now$address "; done <<LOCAL
$(ip -4 -o route show table all type local)
LOCAL
    [ "$now" != "$known" ] || return 0
    {
        for address in $now; do
            case $known in *" $address "*) ;; *) echo "route replace prohibit $address table 100" ;; esac
        done
        for address in $known; do
            case $now in *" $address "*) ;; *) echo "route del prohibit $address table 100" ;; esac
        done
    } | nsenter --net="$router" ip -batch -
    known=$now
}

# First the news, then the list: no address comes between them unseen.
fifo "$dir/news"
become ip -4 -o monitor address route >"$dir/news" &
exec 4<"$dir/news"
prohibit_host_addresses
# The way out is opened last.
nsenter --net="$router" ip route add default via $net.2 dev tap0 table 100

echo ready
exec >&2
trap 'kill -TERM "$daemon"' EXIT
while read -r _ <&4; do prohibit_host_addresses; done
