#!/bin/sh
# The CNI plugin that connects the network namespace of a RUN step to the router of router.sh (CNI 1.0.0). BuildKit runs it
# under two names: `loopback` for the interface lo, `slipway` for the link.
set -eu
dir=${0%/cni/*}
net=198.51.100
# The path of the namespace as JSON has it: that of the home is in it.
netns=${CNI_NETNS-}
case $netns in
*[\\\"]*) netns=$(printf '%s' "$netns" | sed 's/[\\"]/\\&/g') ;;
esac

case $CNI_COMMAND:$CNI_IFNAME in
ADD:lo)
    nsenter --net="$CNI_NETNS" ip link set lo up
    printf '%s\n' "{\"cniVersion\":\"0.3.1\",\"interfaces\":[{\"name\":\"lo\",\"sandbox\":\"$netns\"}]}"
    ;;
ADD:*)
    read -r router <"$dir/router"
    number=10
    # `mkdir` takes a number atomically; .100 is the router.
    until [ $number -ne 100 ] && mkdir "$dir/taken/$number" 2>/dev/null; do
        number=$((number + 1))
        if [ $number -gt 254 ]; then
            echo 'all 244 addresses of the sandbox network are taken: too many RUN steps run at once' >&2
            exit 1
        fi
    done
    echo "$CNI_CONTAINERID" >"$dir/taken/$number/container"
    trap 'nsenter --net="$router" ip link del "step$number"; rm -r "$dir/taken/$number"' EXIT
    # The router's end has the same hardware address everywhere, so that steps need not ask for it.
    nsenter --net="$router" ip -batch - <<ROUTER
link add step$number address 02:00:00:00:00:01 mtu 65520 type veth peer name peer$number mtu 65520
link set step$number up
route add $net.$number dev step$number
ROUTER
    # shellcheck disable=SC2016
    nsenter --net="$router" ip link set "peer$number" netns "$CNI_NETNS" name "$CNI_IFNAME"
    nsenter --net="$CNI_NETNS" sh -eu -c '
        if [ -d /proc/sys/net/ipv6 ]; then echo 1 >"/proc/sys/net/ipv6/conf/$CNI_IFNAME/disable_ipv6"; fi
        exec ip -batch -
    ' <<STEP
link set $CNI_IFNAME up
addr add $net.$number/32 dev $CNI_IFNAME
neigh add $net.2 lladdr 02:00:00:00:00:01 dev $CNI_IFNAME nud permanent
route add $net.2 dev $CNI_IFNAME
route add default via $net.2 dev $CNI_IFNAME
STEP
    printf '%s %s\n' "{\"cniVersion\":\"1.0.0\",\"interfaces\":[{\"name\":\"$CNI_IFNAME\",\"sandbox\":\"$netns\"}]," \
        "\"ips\":[{\"address\":\"$net.$number/32\",\"gateway\":\"$net.2\",\"interface\":0}]}"
    trap - EXIT
    ;;
DEL:lo) ;;
DEL:*)
    # Of an earlier daemon there is nothing: its namespaces died with it.
    for taken in "$dir"/taken/*; do
        if [ -e "$taken/container" ] && [ "$(cat "$taken/container")" = "$CNI_CONTAINERID" ]; then
            read -r router <"$dir/router"
            nsenter --net="$router" ip link del "step${taken##*/}" || :
            rm -r "$taken"
        fi
    done
    ;;
VERSION:*)
    echo '{"cniVersion":"1.0.0","supportedVersions":["0.3.1","0.4.0","1.0.0"]}'
    ;;
esac
