"""The part of install.sh that is the same in every folder: options, the record of what was changed, and the way back.

Plain POSIX sh. The record is a folder for each thing changed, written before the change, with what stood there; taking
back goes through it from the newest to the oldest and needs nothing else.
"""

from typing import Final

FRAME: Final = r"""
set -eu
umask 077
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
HERE=$(unset CDPATH; cd -- "$(dirname -- "$0")" && pwd -P)
STATE=/var/lib/ejected/$NAME
RECORD=$STATE/record
MODE=install
ENGINE=
CONTAINERS=yes
CHANGES=0
SEEN=
CHANGED=no
UNIT=
ITEM=
TEMPORARY=

usage() {
  cat <<'END'
sh install.sh [--dry-run] [--engine docker|podman] [--no-containers]
sh install.sh --uninstall [--dry-run] [--delete-data]

Installs what this folder holds on this machine, as root. Run again it changes only what is not as said, and takes back
what an older version of the folder installed and this one does not have.

  --dry-run         say what would be done, and do nothing
  --no-containers   leave containers to somebody else (docker compose, Kubernetes)
  --uninstall       take everything back: what stood there before stands there again
  --delete-data     with --uninstall: also the data of volumes that were claimed
END
}

say() { printf '%s\n' "$*"; }
warn() { printf 'install.sh: %s\n' "$*" >&2; }
die() {
  warn "$*"
  exit 1
}

# Says what is about to be done. Status 1 when it is only said, or only checked.
act() {
  CHANGES=$((CHANGES + 1))
  case $MODE in
    install | uninstall) say "$*" ;;
    dry) say "would $*" && return 1 ;;
    check) return 1 ;;
  esac
}

need() {
  command -v "$1" >/dev/null 2>&1 || die "the program $1 is needed, and not there: nothing was changed"
}

# known ID: whether the record has an entry; ITEM is its folder.
known() {
  for ITEM in "$RECORD"/*-"$1"; do
    if [ -d "$ITEM" ]; then return 0; fi
  done
  ITEM=
  return 1
}

# fresh ID KIND, then files into $STATE/new, then keep: an entry counts when it is whole.
fresh() {
  rm -rf -- "$STATE/new"
  mkdir -- "$STATE/new"
  printf '%s\n' "$1" >"$STATE/new/id"
  printf '%s\n' "$2" >"$STATE/new/kind"
}

keep() {
  last=0
  for ITEM in "$RECORD"/*; do
    if [ -d "$ITEM" ]; then
      last=${ITEM##*/}
      last=${last%%-*}
    fi
  done
  ITEM=$RECORD/$(printf '%06d' "$(expr "$last" + 1)")-$(cat "$STATE/new/id")
  mv -- "$STATE/new" "$ITEM"
}

# absent ID: notes that the thing is still wanted. Status 0 when it has to be recorded now.
absent() {
  SEEN="$SEEN $1 "
  if known "$1"; then return 1; fi
  [ "$MODE" = install ]
}

# plain PATH: nothing is read or written through a link.
plain() {
  way=
  rest=${1#/}
  while :; do
    case $rest in
      */*) ;;
      *) break ;;
    esac
    way=$way/${rest%%/*}
    rest=${rest#*/}
    [ ! -L "$way" ] || die "$way is a link: nothing is done through it"
    if [ -e "$way" ] && [ ! -d "$way" ]; then die "$way is no folder"; fi
  done
  [ ! -L "$1" ] || die "$1 is a link: nothing is done through it"
}

# folders PATH: makes it and what is missing above it, noted for the way back.
folders() {
  case $1 in
    '' | /) return 0 ;;
  esac
  if [ -d "$1" ]; then return 0; fi
  folders "${1%/*}"
  printf '%s\n' "$1" >>"$STATE/folders"
  mkdir -m 755 -- "$1"
}

# put SOURCE TARGET MODE OWNER GROUP: whole or not at all; "" keeps what the target has.
put() {
  folders "${2%/*}"
  TEMPORARY=$(mktemp "${2%/*}/.ejected.XXXXXX")
  cat <"$1" >"$TEMPORARY"
  wanted=${3:-644}
  if [ -e "$2" ]; then
    chown "$(stat -c %u:%g -- "$2")" "$TEMPORARY"
    wanted=${3:-$(stat -c %a -- "$2")}
  fi
  [ -z "$4" ] || chown -- "$4" "$TEMPORARY"
  [ -z "$5" ] || chgrp -- "$5" "$TEMPORARY"
  chmod "$wanted" "$TEMPORARY"
  mv -f -- "$TEMPORARY" "$2"
  TEMPORARY=
}

# as_said PATH MODE OWNER GROUP: whether it has what is said of it.
as_said() {
  case $2 in
    '' | "$(stat -c %a -- "$1")") ;;
    *) return 1 ;;
  esac
  case $3 in
    '' | "$(stat -c %U -- "$1")" | "$(stat -c %u -- "$1")") ;;
    *) return 1 ;;
  esac
  case $4 in
    '' | "$(stat -c %G -- "$1")" | "$(stat -c %g -- "$1")") ;;
    *) return 1 ;;
  esac
}

set_as_said() {
  [ -z "$3" ] || chown -- "$3" "$1"
  [ -z "$4" ] || chgrp -- "$4" "$1"
  [ -z "$2" ] || chmod "$2" "$1"
}

undo() {
  kind=$(cat "$1/kind")
  "undo_$kind" "$1"
  if [ "$MODE" = uninstall ] || [ "$MODE" = install ]; then
    rm -rf -- "$STATE/done"
    mv -- "$1" "$STATE/done"
    rm -rf -- "$STATE/done"
  fi
}

# What an older version of the folder installed, and this one does not have.
undo_unseen() {
  set --
  for ITEM in "$RECORD"/*; do
    if [ -d "$ITEM" ]; then
      case $SEEN in
        *" $(cat "$ITEM/id") "*) ;;
        *) set -- "$ITEM" "$@" ;;
      esac
    fi
  done
  for entry in "$@"; do undo "$entry"; done
}

undo_all() {
  set --
  for ITEM in "$RECORD"/*; do
    if [ -d "$ITEM" ]; then set -- "$ITEM" "$@"; fi
  done
  for entry in "$@"; do undo "$entry"; done
}

clear_folders() {
  [ -f "$STATE/folders" ] || return 0
  set --
  while IFS= read -r way; do set -- "$way" "$@"; done <"$STATE/folders"
  for way in "$@"; do
    if [ -d "$way" ] && act "remove the folder $way, when it is empty"; then
      rmdir -- "$way" 2>/dev/null || say "kept $way: it is not empty"
    fi
  done
}

uninstall() {
  [ -d "$STATE" ] || die "nothing of $NAME is installed here"
  if [ -f "$STATE/engine" ]; then ENGINE=$(cat "$STATE/engine"); fi
  undo_all
  clear_folders
  if [ -d "$STATE/claims" ]; then
    if [ "$DELETE_DATA" = yes ]; then
      if act "delete the data in $STATE/claims"; then rm -rf -- "$STATE/claims"; fi
    else
      say "kept the data in $STATE/claims (--delete-data takes it away)"
    fi
  fi
  if [ "$MODE" = uninstall ]; then
    rm -rf -- "$RECORD" "$STATE/pods" "$STATE/new" "$STATE/done" "$STATE/folders" "$STATE/engine" "$STATE/lock"
    rmdir -- "$STATE" 2>/dev/null || :
    rmdir -- /var/lib/ejected 2>/dev/null || :
  fi
}

locked() {
  mkdir -p -m 700 -- "$STATE"
  mkdir -p -- "$RECORD"
  exec 9>"$STATE/lock"
  flock -n 9 || die "another install.sh of $NAME is running"
}
"""

MAIN: Final = r"""
DELETE_DATA=no
UNINSTALL=no
DRY=no
while [ $# -gt 0 ]; do
  case $1 in
    --dry-run) DRY=yes ;;
    --uninstall) UNINSTALL=yes ;;
    --delete-data) DELETE_DATA=yes ;;
    --no-containers) CONTAINERS=no ;;
    --engine)
      [ $# -gt 1 ] || die "--engine docker or --engine podman"
      shift
      ENGINE=$1
      ;;
    -h | --help) usage && exit 0 ;;
    *)
      usage >&2
      exit 2
      ;;
  esac
  shift
done
case $ENGINE in
  '' | docker | podman) ;;
  *) die "--engine docker or --engine podman" ;;
esac
trap 'if [ -n "$TEMPORARY" ]; then rm -f -- "$TEMPORARY"; fi' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
for program in cat chgrp chmod chown cmp cp dirname expr flock id mkdir mktemp mv rm rmdir stat; do
  need "$program"
done
[ "$(id -u)" = 0 ] || die "must be run as root"
if [ "$UNINSTALL" = yes ]; then
  MODE=uninstall
  if [ "$DRY" = yes ]; then MODE=dry; elif [ -d "$STATE" ]; then locked; fi
  uninstall
  say "$CHANGES changes"
  exit 0
fi
programs
if [ "$CONTAINERS" = yes ]; then engine; fi
MODE=check
plan
if [ "$DRY" = yes ]; then
  MODE=dry
  CHANGES=0
  SEEN=
  if [ "$CONTAINERS" = yes ]; then images; fi
  plan
  undo_unseen
  say "$CHANGES changes would be made"
  exit 0
fi
locked
MODE=install
CHANGES=0
SEEN=
if [ "$CONTAINERS" = yes ]; then
  if [ -n "$ENGINE" ]; then printf '%s\n' "$ENGINE" >"$STATE/engine"; fi
  images
elif [ -f "$STATE/engine" ]; then
  ENGINE=$(cat "$STATE/engine")
fi
plan
undo_unseen
say "$CHANGES changes"
remarks
"""
