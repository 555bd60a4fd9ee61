#!/usr/bin/env bash
# Two nodes on one machine: network namespaces joined by a cable that can be unplugged. Needs root and iproute2.
#
#     benchmarks/netns.sh whole          quickstart on both, undisturbed
#     benchmarks/netns.sh cut [SECONDS]  the cable is unplugged for SECONDS (15) in the middle; torchrun may restart
#     benchmarks/netns.sh gone           the cable is unplugged for good
#
# Each node has its own cache; both see the run folder. Prints the exit status of each torchrun and the seconds from
# unplugging to the end, at most LIMIT_S (400).
set -u
what=${1:-whole}
cut_s=${2:-15}
limit_s=${LIMIT_S:-400}
python=${PYTHON:-.venv/bin/python}
place=$(mktemp -d)
run=$place/run
one=cadence-a-$$ two=cadence-b-$$
export GLOO_SOCKET_IFNAME=cable OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE

ended() {
    ip netns del "$one" 2>/dev/null
    ip netns del "$two" 2>/dev/null
}
trap ended EXIT
ip netns add "$one" && ip netns add "$two" || exit 1
ip link add cable netns "$one" type veth peer name cable netns "$two"
for node in 1 2; do
    name=$([ $node = 1 ] && echo "$one" || echo "$two")
    ip -n "$name" address add 10.77.0.$node/24 dev cable
    ip -n "$name" link set lo up
    ip -n "$name" link set cable up
done

restarts=$([ "$what" = cut ] && echo 3 || echo 0)
start() {
    ip netns exec "$1" timeout -k 10 "$limit_s" "$python" -m torch.distributed.run --nnodes 2 --nproc-per-node 1 \
        --rdzv-backend c10d --rdzv-endpoint 10.77.0.1:29400 --rdzv-id netns --local-addr "10.77.0.$2" \
        --rdzv-conf "is_host=$(($2 == 1))" \
        --max-restarts "$restarts" -m engine.train --recipe quickstart --data.cache="$place/cache_$2" \
        --run.folder="$run" --checkpoint.every_minutes=0.02 --peer-timeout 8 >"$place/node_$2.log" 2>&1
    echo $? >"$place/status_$2"
}
start "$one" 1 &
start "$two" 2 &

if [ "$what" != whole ]; then
    for _ in $(seq "$limit_s"); do
        [ "$(wc -l 2>/dev/null <"$run/metrics.csv" || echo 0)" -ge 3 ] && break
        sleep 1
    done
    ip -n "$one" link set cable down
    began=$SECONDS
    if [ "$what" = cut ]; then
        sleep "$cut_s"
        ip -n "$one" link set cable up
    fi
fi
wait
for node in 1 2; do
    echo "== node $node: status $(cat "$place/status_$node")"
    grep -v '^  \|^W\|^E\|^\[W\|^frame\|^<omitting\|^$' "$place/node_$node.log"
done
[ -z "${began:-}" ] || echo "== ended $((SECONDS - began)) s after the cable was unplugged"
ls "$run/summary.json" 2>/dev/null
