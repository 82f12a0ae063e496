#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Something to look at on an idle machine: three small programs that know nothing of sonde, and sonde
# scoped to exactly these (--scope=pid:). Ends by itself after DEMO_SECONDS (60), or by Ctrl-C.
#
#   deploy/demo/demo.sh SONDE [OPTION...]
set -u
sonde=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
seconds=${DEMO_SECONDS:-60}
work=$(mktemp -d)
programs='' observer='' ended=''

stop_programs() {
	[ -n "$programs" ] && kill -TERM -- "-$programs" 2>/dev/null && wait "$programs" 2>/dev/null
	programs=
}
clean_up() {
	stop_programs
	[ -n "$observer" ] && kill -TERM "$observer" 2>/dev/null && wait "$observer"
	rm -rf "$work"
}
trap clean_up EXIT
trap 'ended=1' INT TERM

if [ "$(id -u)" != 0 ]; then
	echo "the demo needs root: sudo make demo" >&2
	exit 1
fi
# free ports; /metrics where it always is, unless somebody is there
read -r shop stock web < <(python3 - <<'PY'
import socket
def free(port=0):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("127.0.0.1", port))
    return s
held = [free(), free()]
try:
    held.append(free(9960))
except OSError:
    held.append(free())
print(*[s.getsockname()[1] for s in held])
PY
)

# One parent in a process group of its own: the scope is this process and its descendants, and one signal ends all
set -m
(
	trap 'kill $(jobs -p); wait' TERM
	python3 "$here/stock.py" "$stock" &
	python3 "$here/shop.py" "$shop" "$stock" &
	until (exec 3<>"/dev/tcp/127.0.0.1/$shop" 4<>"/dev/tcp/127.0.0.1/$stock") 2>/dev/null; do sleep 0.1; done
	until [ -e "$work/go" ]; do sleep 0.05; done
	python3 "$here/visitor.py" "$shop" "$work/made" &
	wait
) </dev/null >/dev/null 2>&1 &
programs=$!
"$sonde" --scope="pid:$programs" --allow-overlap --print=text --web.listen-address="127.0.0.1:$web" --log.level=warn "$@" &
observer=$!
set +m

metrics() {
	python3 - "http://127.0.0.1:$web/$1" <<'PY' 2>/dev/null
import sys, urllib.request as u
sys.stdout.write(u.build_opener(u.ProxyHandler({})).open(sys.argv[1], timeout=2).read().decode())
PY
}
until metrics readyz >/dev/null; do
	if [ -n "$ended" ] || ! kill -0 "$observer" 2>/dev/null; then
		exit 1
	fi
	sleep 0.1
done
touch "$work/go"
echo "Three programs were started: a shop, its stock and a visitor. sonde reads these and nothing else."
echo "Look at http://127.0.0.1:$web/metrics meanwhile, for example:"
echo "  curl -s http://127.0.0.1:$web/metrics | grep ^http_server_request_duration_seconds_count"
echo "It ends in $seconds seconds, or by Ctrl-C."
echo
end=$((SECONDS + seconds))
while [ -z "$ended" ] && [ $SECONDS -lt $end ] && kill -0 "$observer" 2>/dev/null; do sleep 0.2; done

stop_programs
sleep 1 # a call is reported within a second of its last byte
echo
echo "Requests per service, route and status, as Prometheus gets them:"
metrics metrics >"$work/metrics"
sed -n 's/^http_\(server\|client\)_request_duration_seconds_count{\(.*\)} \([0-9]*\).*/\1 \3 \2/p' "$work/metrics" |
	awk '{ role = $1; n = $2; $1 = $2 = ""; name = method = route = status = ""
	       if (match($0, /service_name="[^"]*/)) name = substr($0, RSTART + 14, RLENGTH - 14)
	       if (match($0, /http_request_method="[^"]*/)) method = substr($0, RSTART + 21, RLENGTH - 21)
	       if (match($0, /http_route="[^"]*/)) route = substr($0, RSTART + 12, RLENGTH - 12)
	       if (match($0, /status_code="[^"]*/)) status = substr($0, RSTART + 13, RLENGTH - 13)
	       printf "  %-8s %-7s %-5s %-20s %-4s %6d\n", name, role, method, route, status, n
	       if (name == "visitor") seen += n }
	     END { print seen + 0 >"/dev/stderr" }' 2>"$work/seen" | sort
echo
made=$(cat "$work/made" 2>/dev/null || echo '?')
seen=$(cat "$work/seen")
echo "The visitor made $made requests; sonde counted $seen of its."
[ "$made" = "$seen" ]
