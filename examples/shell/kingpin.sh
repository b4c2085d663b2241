#!/usr/bin/env bash
# KingPin's deciders and managed lists for bash: source it, or copy what you need. inotifywait is of the package inotify-tools.
#
#   . kingpin.sh
#   if kingpin_active_for_key new_ranker "$user"; then ...
#   if kingpin_items spam blacklist | grep -qxF "$address"; then ...
#
# It reads files of the mount, $KINGPIN_MOUNT or /var/kingpin. To publish, write the file: echo 42 > /var/kingpin/decider/new_ranker
kingpin_mount=${KINGPIN_MOUNT:-/var/kingpin}

# kingpin_percent NAME [OTHERWISE]: the percent of a gate; OTHERWISE, or 0, if it is unknown.
kingpin_percent() {
	local percent=
	{ read -r percent <"$kingpin_mount/decider/${1,,}"; } 2>/dev/null
	if [[ $percent =~ ^[0-9]{1,3}$ ]]; then echo $((10#$percent)); else echo "${2:-0}"; fi
}

# kingpin_items DOMAIN KEY: the items of a managed list, one a line. It understands what the mount shows of lists of plain ASCII strings, or of
# numbers; where there may be quotes, backslashes, line ends or other letters in them (they are written as \u2603), use jq -r '.[]'.
kingpin_items() {
	sed -E '/^\[\]$/d; s/^\[//; s/\]$//; /"/!s/, /\n/g; s/", "/\n/g; s/^"|"$//g' "$kingpin_mount/config/config.manageddata.${1,,}.${2,,}" 2>/dev/null
}

# kingpin_bucket NAME KEY: where a key falls, 0 to 99, the same in every language.
kingpin_bucket() {
	local sum bucket=0 i
	sum=$(printf 'decider_%s%s' "$1" "$2" | md5sum)
	for ((i = 0; i < 32; i++)); do
		bucket=$(((bucket * 16 + 16#${sum:i:1}) % 100))
	done
	echo "$bucket"
}

# kingpin_id_bucket ID: where a number falls, never negative, as in Python. What is no number is an error: bash would execute it.
kingpin_id_bucket() {
	[[ $1 =~ ^-?[0-9]+$ ]] || return
	local id=0${1#-}
	local bucket=$((10#${id: -2}))
	[[ $1 != -* ]] || bucket=$(((100 - bucket) % 100))
	echo "$bucket"
}

kingpin_active() { ((RANDOM % 100 < $(kingpin_percent "$1"))); }
kingpin_active_for() {
	local bucket
	bucket=$(kingpin_id_bucket "$2") && ((bucket < $(kingpin_percent "$1")))
}
kingpin_active_for_key() { (($(kingpin_bucket "$1" "$2") < $(kingpin_percent "$1"))); }

# kingpin_watch COMMAND...: runs a command at the start, after each event, and every few seconds.
kingpin_watch() {
	while :; do
		inotifywait -q -m -e close_write,moved_to,delete "$kingpin_mount/config" "$kingpin_mount/decider" 2>/dev/null | while
			"$@"
			read -r -t 5 _ || (($? > 128)) # 128 and more: no event came
		do :; done
		sleep 1 # the directories are not there
	done
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
	tell() {
		line="$(kingpin_percent "$1") $(kingpin_items "$2" "$3" | paste -sd,)"
		[[ $line == "${last-}" ]] || echo "$line"
		last=$line
	}
	case ${2:+$1} in
	'') echo "usage: kingpin.sh watch DECIDER DOMAIN KEY | bucket DECIDER KEY | id NUMBER" >&2 ;;
	bucket) kingpin_bucket "$2" "$3" ;;
	id) kingpin_id_bucket "$2" ;;
	*) kingpin_watch tell "$2" "$3" "$4" ;; # watch DECIDER DOMAIN KEY: a line at the start, and one at each change
	esac
fi
