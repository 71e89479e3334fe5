# What the scripts in `gold` use beside `dojo` itself.

read_fact() {
  python3 "$HERE/read.py" "$@"
}

# store COMMAND: call the online store's Redis, to change something.
store() {
  "$REDIS_CLI" -u "$ONLINE_STORE" "$@"
}

# until_is ALERT told|quiet: wait until the newest message about an alert says so.
until_is() {
  for _ in $(seq 150); do
    dojo alerts --json | read_fact newest "$1" "$2" && return
    sleep 2
  done
  echo "$1 is not $2" >&2
  return 1
}

until_quiet() {
  until_is "$1" quiet
}

until_told() {
  until_is "$1" told
}

# since CHECK: the world time since which a check of the monitor is beyond its threshold.
since() {
  dojo drift show --json | read_fact since "$1"
}

# tell TEAM --what MECHANISM --since TIME: tell an owner, who must mend it.
tell() {
  local reply
  reply=$(dojo drill tell "$@") || return
  case $reply in
    *"It is mended"*) echo "$reply" ;;
    *) echo "$*: $reply" >&2; return 1 ;;
  esac
}

# paged: the alert that paged.
paged() {
  read_fact paged
}

# world_time_of_page: the world time of the page.
world_time_of_page() {
  dojo alerts --json | read_fact told "$(paged)"
}

# unsilence: end every silence of Alertmanager.
unsilence() {
  python3 "$HERE/unsilence.py"
}

# unreadable: the file of the lake that the materializer names.
unreadable() {
  dojo logs materializer | grep -o '/[^ "]*\.parquet' | tail -1
}
