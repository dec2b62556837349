package remote

// The scripts run on the node as root, under any POSIX sh (dash, busybox). They report
// in lines that begin with "dapbridge: ".

const (
	startMark  = "dapbridge: start\n"
	absentMark = "dapbridge: absent "
	readyMark  = "dapbridge: ready "
	storedMark = "dapbridge: stored "
)

// startScript HASHES DIR… -- ARG… executes the agent with one of the hashes, which spaces
// separate, if one of the directories has it. Directories of other users are ignored. If
// there is none, what follows absentMark is the node's platform, in uname's words.
const startScript = `hashes=$1
shift
agent=
while [ "$1" != -- ]; do
	for hash in $hashes; do
		f=$1/$hash/dapbridge
		if [ -z "$agent" ] && [ -x "$f" ] && [ -s "$f" ] && [ -O "$1" ] && [ ! -L "$1" ]; then agent=$f; fi
	done
	shift
done
shift
if [ -z "$agent" ]; then
	echo "dapbridge: absent $(uname -s -m)" >&2
	exit 127
fi
echo 'dapbridge: start'
exec "$agent" "$@"`

// Exit statuses of uploadScript.
const (
	exitNoDir    = 71 // no directory is usable; stderr has the reason for each
	exitWrite    = 72 // the stream was incomplete or could not be written
	exitDamaged  = 73 // the file differs from what was sent
	exitNotRun   = 74 // the file cannot be run
	exitNoSHA256 = 75 // there is no sha256sum to check the file with
)

// uploadScript TOKEN HASH IDLE DIR… stores its input as DIR/HASH/dapbridge, in the
// first directory that root owns and that programs can run from. TOKEN makes the name
// of the temporary file unique. Only root can access the file before it has its final
// name, and only a complete file gets that name. The script fails when nothing has
// arrived for IDLE seconds: sshd may take hours to notice that a connection is dead.
const uploadScript = `LC_ALL=C
export LC_ALL
umask 077
token=$1 hash=$2 idle=$3
shift 3
tmp= receiver= size= silent=0
say() { echo "dapbridge: $*" >&2; }
trap '[ -z "$receiver" ] || kill $receiver; [ -z "$tmp" ] || rm -f "$tmp"' EXIT
trap 'exit 1' HUP INT TERM PIPE
command -v sha256sum >/dev/null 2>&1 || { say 'sha256sum is missing'; exit 75; }
dir=
for d do
	[ -d "${d%/*}" ] || { say "$d: ${d%/*} does not exist"; continue; }
	[ -e "$d" ] || [ -L "$d" ] || mkdir "$d" || continue
	if [ -L "$d" ] || [ ! -d "$d" ] || [ ! -O "$d" ]; then
		say "$d: not a directory owned by root"
		continue
	fi
	chmod 700 "$d" || continue
	find "$d" -name '.tmp-*' -mmin +60 -exec rm -f {} \; 2>/dev/null
	tmp=$d/.tmp-$token
	if ! printf '#!/bin/sh\nexit 0\n' >"$tmp" || ! chmod 700 "$tmp"; then
		say "$d: not writable"
	elif ! "$tmp" 2>/dev/null; then
		say "$d: programs cannot be run from there"
	else
		dir=$d
		break
	fi
	rm -f "$tmp"
done
[ -n "$dir" ] || exit 71
if command -v gzip >/dev/null 2>&1; then
	echo 'dapbridge: ready gzip'
	receive='gzip -dc'
else
	echo 'dapbridge: ready raw'
	receive=cat
fi
exec 3<&0
$receive <&3 >"$tmp" &
receiver=$!
while sleep 1; do
	now=$(wc -c <"$tmp") || break
	[ "$now" = "$size" ] || silent=0
	size=$now silent=$((silent + 1))
	[ $silent -le "$idle" ] || kill $receiver
done </dev/null >/dev/null 2>&1 3<&- &
watcher=$!
wait $receiver
status=$?
receiver=
{ kill -KILL $watcher; wait $watcher; } 2>/dev/null # with TERM it might run our own trap if it has just started; bash reports its end
[ $status -ne 143 ] || say "nothing arrived for $idle seconds"
[ $status -eq 0 ] || exit 72
sum=$(sha256sum <"$tmp") || exit 72
if [ "${sum%% *}" != "$hash" ]; then
	say "sha256 is ${sum%% *}"
	exit 73
fi
chmod 700 "$tmp" || exit 72
sync "$tmp" 2>/dev/null
"$tmp" version </dev/null >/dev/null || exit 74
mkdir -p "$dir/$hash" && mv -f "$tmp" "$dir/$hash/dapbridge" || exit 72
tmp=
echo "dapbridge: stored $dir/$hash/dapbridge"
used=$(ls -l /proc/[0-9]*/exe 2>/dev/null)
others=0
for h in $(ls -t "$dir"); do
	case $h in *[!0-9a-f]*) continue ;; esac
	[ ${#h} -eq 64 ] && [ "$h" != "$hash" ] || continue
	others=$((others + 1))
	[ $others -gt 1 ] || continue
	case $used in *"/$h/dapbridge"*) continue ;; esac
	rm -rf "$dir/$h"
done
exit 0`
