"""The part of install.sh that knows how each kind of thing is put on a machine, and taken back. Plain POSIX sh."""

from typing import Final

MACHINE: Final = r"""
# file ID SOURCE TARGET MODE OWNER GROUP; "" is not said
file() {
  plain "$3"
  if [ -e "$3" ] && [ ! -f "$3" ]; then die "$3 is no regular file"; fi
  [ -f "$HERE/$2" ] || die "$HERE/$2 is missing"
  if absent "$1"; then
    fresh "$1" file
    printf '%s\n' "$3" >"$STATE/new/path"
    if [ -e "$3" ]; then cp -p -- "$3" "$STATE/new/before"; fi
    keep
  fi
  if [ ! -e "$3" ] || ! cmp -s -- "$HERE/$2" "$3"; then
    CHANGED=yes
    if act "write $3"; then
      if [ -n "$UNIT" ]; then : >"$UNIT/pending"; fi
      put "$HERE/$2" "$3" "$4" "$5" "$6"
    fi
  elif ! as_said "$3" "$4" "$5" "$6"; then
    if act "set mode and owner of $3"; then set_as_said "$3" "$4" "$5" "$6"; fi
  fi
}

undo_file() {
  path=$(cat "$1/path")
  if [ -e "$1/before" ]; then
    if act "put back $path"; then
      mkdir -p -- "${path%/*}/"
      TEMPORARY=$(mktemp "${path%/*}/.ejected.XXXXXX")
      cp -p -- "$1/before" "$TEMPORARY"
      mv -f -- "$TEMPORARY" "$path"
      TEMPORARY=
    fi
  elif [ -e "$path" ] && act "remove $path"; then
    rm -f -- "$path"
  fi
}

# directory ID PATH MODE OWNER GROUP
directory() {
  plain "$2"
  if [ -e "$2" ] && [ ! -d "$2" ]; then die "$2 is no folder"; fi
  if absent "$1"; then
    fresh "$1" directory
    printf '%s\n' "$2" >"$STATE/new/path"
    if [ -d "$2" ]; then stat -c '%a %u:%g' -- "$2" >"$STATE/new/before"; fi
    keep
  fi
  if [ ! -d "$2" ] && act "make the folder $2"; then folders "$2"; fi
  if [ -d "$2" ] && ! as_said "$2" "$3" "$4" "$5"; then
    if act "set mode and owner of $2"; then set_as_said "$2" "$3" "$4" "$5"; fi
  fi
}

undo_directory() {
  path=$(cat "$1/path")
  if [ -f "$1/before" ] && [ -d "$path" ] && [ ! -L "$path" ] && act "set $path as it was"; then
    read -r mode owner <"$1/before"
    chown "$owner" "$path"
    chmod "$mode" "$path"
  fi
}

# place PATH: where something is to be mounted
place() {
  plain "$1"
  if [ ! -d "$1" ] && act "make the folder $1"; then folders "$1"; fi
}

# link ID PATH TARGET: a link of the machine's own, such as /etc/localtime
link() {
  if absent "$1"; then
    fresh "$1" link
    printf '%s\n' "$2" >"$STATE/new/path"
    if [ -L "$2" ] || [ -e "$2" ]; then cp -P -p -- "$2" "$STATE/new/before"; fi
    keep
  fi
  [ -e "$3" ] || die "$3 is not there"
  if [ "$(readlink -- "$2" 2>/dev/null || :)" != "$3" ] && act "link $2 to $3"; then
    ln -s -- "$3" "$2.ejected"
    mv -f -- "$2.ejected" "$2"
  fi
}

undo_link() {
  path=$(cat "$1/path")
  if act "put back $path"; then
    rm -f -- "$path"
    if [ -L "$1/before" ] || [ -e "$1/before" ]; then cp -P -p -- "$1/before" "$path"; fi
  fi
}

# stood ID NAME: how a unit stands before its files come; taken back last
stood() {
  CHANGED=no
  UNIT=
  if absent "$1"; then
    fresh "$1" stood
    printf '%s\n' "$2" >"$STATE/new/name"
    systemctl is-enabled -- "$2" >"$STATE/new/enabled" 2>/dev/null || :
    systemctl is-active -- "$2" >"$STATE/new/active" 2>/dev/null || :
    keep
  fi
  UNIT=$ITEM
}

undo_stood() {
  name=$(cat "$1/name")
  was=$(cat "$1/enabled")
  act "let $name stand as it stood" || return 0
  systemctl daemon-reload
  now=$(systemctl is-enabled -- "$name" 2>/dev/null || :)
  if [ "$was" = masked ]; then
    [ "$now" = masked ] || systemctl --quiet mask -- "$name"
    return 0
  fi
  if [ "$now" = masked ]; then systemctl --quiet unmask -- "$name"; fi
  case $was in
    enabled) [ "$now" = enabled ] || systemctl --quiet enable -- "$name" ;;
    disabled) [ "$now" != enabled ] || systemctl --quiet disable -- "$name" ;;
  esac
  case $(cat "$1/active") in
    active | activating | reloading)
      if [ -e "$1/files" ]; then systemctl restart -- "$name"; else systemctl start -- "$name"; fi
      ;;
    *)
      if [ -n "$was" ] && systemctl --quiet is-active -- "$name"; then systemctl stop -- "$name"; fi
      ;;
  esac
}

# stand NAME ENABLED RUNNING: enabled is yes, no, masked, unmasked or ""; running yes, no, once, onDemand or ""
stand() {
  if [ -n "$UNIT" ] && [ -e "$UNIT/pending" ]; then CHANGED=yes; fi
  if [ "$CHANGED" = yes ]; then
    if [ -n "$UNIT" ]; then : >"$UNIT/files"; fi
    if act "systemctl daemon-reload"; then systemctl daemon-reload; fi
  fi
  now=$(systemctl is-enabled -- "$1" 2>/dev/null || :)
  case $2:$now in
    yes:enabled) if [ "$CHANGED" = yes ] && act "systemctl reenable $1"; then systemctl --quiet reenable -- "$1"; fi ;;
    yes:*) if act "systemctl enable $1"; then systemctl --quiet enable -- "$1"; fi ;;
    no:enabled) if act "systemctl disable $1"; then systemctl --quiet disable -- "$1"; fi ;;
    masked:masked) ;;
    masked:*) if act "systemctl mask $1"; then systemctl --quiet mask -- "$1"; fi ;;
    unmasked:masked) if act "systemctl unmask $1"; then systemctl --quiet unmask -- "$1"; fi ;;
  esac
  case $(systemctl is-active -- "$1" 2>/dev/null || :) in
    active | activating | reloading) now=up ;;
    *) now=down ;;
  esac
  verb=
  case $3:$now:$CHANGED in
    yes:down:* | once:*:yes) verb=restart ;;
    yes:up:yes) verb=restart ;;
    onDemand:up:yes) verb=try-restart ;;
    no:up:*) verb=stop ;;
  esac
  if [ -n "$verb" ] && act "systemctl $verb $1"; then
    systemctl "$verb" -- "$1" || die "$1 did not come up: journalctl -u $1"
  fi
  if [ "$MODE" = install ] && [ -n "$UNIT" ]; then rm -f -- "$UNIT/pending"; fi
  UNIT=
}

# unit ID NAME ENABLED RUNNING: a unit of this folder
unit() {
  standing=$UNIT
  if absent "$1"; then
    fresh "$1" unit
    printf '%s\n' "$2" >"$STATE/new/name"
    keep
  fi
  UNIT=$standing
  stand "$2" "$3" "$4"
}

undo_unit() {
  name=$(cat "$1/name")
  if act "systemctl disable --now $name"; then
    systemctl --quiet disable --now -- "$name" 2>/dev/null || systemctl stop -- "$name" 2>/dev/null || :
    systemctl reset-failed -- "$name" 2>/dev/null || :
  fi
}

# setting ID PATH VALUE: of the kernel, below /proc/sys
setting() {
  [ -e "/proc/sys/$2" ] || die "this kernel has no setting $2"
  now=$(tr -s ' \t\n' ' ' <"/proc/sys/$2")
  now=${now% }
  if absent "$1"; then
    fresh "$1" setting
    printf '%s\n' "$2" >"$STATE/new/path"
    cat <"/proc/sys/$2" >"$STATE/new/before"
    keep
  fi
  if [ "$now" != "$3" ] && act "set $2 to $3"; then
    printf '%s\n' "$3" >"/proc/sys/$2" || die "$2 cannot be set"
  fi
}

undo_setting() {
  if act "set $(cat "$1/path") as it was"; then cat <"$1/before" >"/proc/sys/$(cat "$1/path")"; fi
}

# called ID NAME: what the machine is called now
called() {
  if absent "$1"; then
    fresh "$1" called
    hostname >"$STATE/new/before"
    keep
  fi
  if [ "$(hostname)" != "$2" ] && act "call the machine $2"; then hostname "$2"; fi
}

undo_called() {
  if act "call the machine $(cat "$1/before")"; then hostname "$(cat "$1/before")"; fi
}

# module ID NAME: of the kernel
module() {
  if [ -d "/sys/module/$2" ]; then return 0; fi
  if absent "$1"; then
    fresh "$1" module
    printf '%s\n' "$2" >"$STATE/new/name"
    keep
  fi
  if act "modprobe $2"; then modprobe -- "$2"; fi
}

undo_module() {
  name=$(cat "$1/name")
  if [ -d "/sys/module/$name" ] && act "modprobe -r $name"; then
    modprobe -r -- "$name" || say "kept the module $name: it is in use"
  fi
}

# ruleset ID SOURCE TABLE: of nftables
ruleset() {
  nft -c -f "$HERE/$2" || die "nft does not take $2"
  if absent "$1"; then
    fresh "$1" ruleset
    printf '%s\n' "$3" >"$STATE/new/table"
    nft list table inet "$3" >"$STATE/new/before" 2>/dev/null || rm -f -- "$STATE/new/before"
    keep
  fi
  now=$(nft list table inet "$3" 2>/dev/null || :)
  if [ -n "$ITEM" ] && [ -f "$ITEM/listing" ] && [ "$now" = "$(cat "$ITEM/listing")" ] \
    && cmp -s -- "$ITEM/loaded" "$HERE/$2"; then return 0; fi
  if act "load the table inet $3"; then
    nft -f "$HERE/$2"
    cat <"$HERE/$2" >"$ITEM/loaded"
    nft list table inet "$3" >"$ITEM/listing"
  fi
}

undo_ruleset() {
  table=$(cat "$1/table")
  if act "take the table inet $table away"; then
    printf 'table inet %s\ndelete table inet %s\n' "$table" "$table" | nft -f -
    if [ -f "$1/before" ]; then nft -f "$1/before"; fi
  fi
}

# reloaded ID WORDS...: a daemon that reads files again, after they came, and after they went
reloaded_before() {
  CHANGED=no
  if absent "$1"; then
    fresh "$1" reloaded
    shift
    printf '%s\n' "$1" >"$STATE/new/what"
    keep
  fi
}

reload() {
  case $1 in
    networkd) networkctl reload ;;
    timesyncd) systemctl try-restart systemd-timesyncd.service ;;
    sshd)
      sshd -t
      systemctl try-reload-or-restart ssh.service 2>/dev/null || systemctl try-reload-or-restart sshd.service
      ;;
  esac
}

reloaded() {
  if [ "$CHANGED" = yes ] && act "have $1 read its files"; then reload "$1" || die "$1 does not take its files"; fi
}

undo_reloaded() {
  if act "have $(cat "$1/what") read its files"; then reload "$(cat "$1/what")" || :; fi
}

# interface ID NAME: one that networkd makes
interface() {
  if absent "$1"; then
    fresh "$1" interface
    printf '%s\n' "$2" >"$STATE/new/name"
    keep
  fi
}

undo_interface() {
  if act "take the interface $(cat "$1/name") away"; then ip link delete dev "$(cat "$1/name")" 2>/dev/null || :; fi
}
"""
