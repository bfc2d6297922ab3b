"""The part of install.sh for packages, groups, users and their keys. Plain POSIX sh, with apt and the shadow tools."""

from typing import Final

PEOPLE: Final = r"""
installed() { dpkg-query -W -f '${db:Status-Status} ${Version}' "$1" 2>/dev/null || :; }

# package ID NAME VERSION STATE PURGE: state is present, held or absent
package() {
  was=$(installed "$2")
  case $was in
    'installed '*) there=yes version=${was#installed } ;;
    *) there=no version= ;;
  esac
  if absent "$1"; then
    fresh "$1" package
    printf '%s\n' "$2" >"$STATE/new/name"
    printf '%s\n' "$version" >"$STATE/new/before"
    dpkg-query -W -f '${Package}\n' >"$STATE/new/all"
    apt-mark showhold "$2" >"$STATE/new/held"
    keep
  fi
  case $4:$there in
    absent:yes) if act "remove the package $2"; then apt remove "$2" "$5"; fi ;;
    absent:no) ;;
    *)
      if [ "$there" = no ] || { [ -n "$3" ] && [ "$version" != "$3" ]; }; then
        if act "install the package $2${3:+ $3}"; then apt install "$2${3:+=$3}" ''; fi
      fi
      ;;
  esac
  if [ "$4" = held ] && [ -z "$(apt-mark showhold "$2")" ] && act "hold the package $2"; then
    apt-mark -qq hold "$2"
  fi
}

apt() {
  case $1:$3 in
    install:*) set -- install --allow-downgrades --allow-change-held-packages -- "$2" ;;
    remove:purge) set -- purge -- "$2" ;;
    remove:*) set -- remove -- "$2" ;;
  esac
  DEBIAN_FRONTEND=noninteractive apt-get --quiet --assume-yes --no-install-recommends \
    -o Dpkg::Options::=--force-confold "$@"
}

undo_package() {
  name=$(cat "$1/name")
  was=$(cat "$1/before")
  act "let the package $name be as it was" || return 0
  if [ -z "$(cat "$1/held")" ]; then apt-mark -qq unhold "$name"; else apt-mark -qq hold "$name"; fi
  if [ -n "$was" ]; then
    if [ "$(installed "$name")" != "installed $was" ]; then apt install "$name=$was" '' || say "kept $name as it is"; fi
    return 0
  fi
  for each in $(dpkg-query -W -f '${Package}\n'); do
    if ! grep -qxF -- "$each" "$1/all" && [ "$(apt-mark showauto "$each")" = "$each" ]; then
      printf '%s\n' "$each"
    fi
  done >"$1/drawn"
  case $(installed "$name") in
    'installed '*) apt remove "$name" purge || say "kept $name" ;;
  esac
  for each in $(cat "$1/drawn"); do
    # only what nothing else came to need
    if ! apt-get --simulate --quiet remove -- "$each" 2>/dev/null | grep '^Remv ' | grep -qv "^Remv $each "; then
      apt remove "$each" purge || say "kept $each"
    fi
  done
}

# group ID NAME GID SYSTEM
group() {
  line=$(getent group "$2" || :)
  if [ -n "$line" ]; then
    gid=${line#*:*:}
    [ -z "$3" ] || [ "${gid%%:*}" = "$3" ] || die "the group $2 is there with another number"
    SEEN="$SEEN $1 "
    return 0
  fi
  if absent "$1"; then
    fresh "$1" group
    printf '%s\n' "$2" >"$STATE/new/name"
    keep
  fi
  if act "make the group $2"; then groupadd ${3:+--gid "$3"} ${4:+--system} -- "$2"; fi
}

undo_group() {
  name=$(cat "$1/name")
  if getent group "$name" >/dev/null && act "remove the group $name"; then groupdel -- "$name"; fi
}

# user ID NAME SYSTEM TAKEOVER REMOVEHOME, then words of useradd and usermod
user() {
  name=$2
  there=$(getent passwd "$name" || :)
  if [ -n "$there" ] && ! known "$1" && [ -z "$4" ]; then die "there is a user $name already"; fi
  if absent "$1"; then
    fresh "$1" user
    printf '%s\n' "$name" >"$STATE/new/name"
    printf '%s' "$5" >"$STATE/new/home"
    if [ -n "$there" ]; then
      printf '%s\n' "$there" >"$STATE/new/before"
      primary=$(id -gn -- "$name")
      for each in $(id -Gn -- "$name"); do
        if [ "$each" != "$primary" ]; then printf '%s,' "$each"; fi
      done >"$STATE/new/groups"
      getent shadow "$name" >"$STATE/new/shadow" || :
    fi
    keep
  fi
  system=$3
  shift 5
  if [ -z "$there" ]; then
    if act "make the user $name"; then
      if [ -n "$system" ]; then useradd --system "$@" -- "$name"; else useradd --create-home "$@" -- "$name"; fi
      if [ -d "$(home_of "$name")" ] && [ -z "$system" ]; then chmod 700 "$(home_of "$name")"; fi
    fi
  elif [ $# -gt 0 ] && [ "$(printf '%s\n' "$@")" != "$(cat "${ITEM:-/dev/null}/said" 2>/dev/null)" ]; then
    if act "set the user $name as said"; then
      usermod "$@" -- "$name" || die "the user $name cannot be changed"
    fi
  fi
  if [ "$MODE" = install ]; then printf '%s\n' "$@" >"$ITEM/said"; fi
}

home_of() { getent passwd "$1" | cut -d : -f 6; }

# password NAME FILE LOCKED: a hash from a file, or ""; locked is yes, no or ""
password() {
  now=$(getent shadow "$1" | cut -d : -f 2)
  hash=${now#!}
  if [ -n "$2" ]; then
    [ -f "$HERE/$2" ] || die "$HERE/$2 is missing"
    hash=$(cat "$HERE/$2")
  fi
  case $3 in
    yes) wanted="!$hash" ;;
    no) wanted=$hash ;;
    *) wanted=$hash && case $now in '!'?*) wanted="!$hash" ;; esac ;;
  esac
  if [ "$now" != "$wanted" ] && act "set the password of $1"; then
    printf '%s:%s\n' "$1" "$wanted" | chpasswd --encrypted
    if [ "$3" = yes ]; then usermod --expiredate 1 -- "$1"; elif [ "$3" = no ]; then usermod --expiredate '' -- "$1"; fi
  fi
}

undo_user() {
  name=$(cat "$1/name")
  getent passwd "$name" >/dev/null || return 0
  if [ ! -f "$1/before" ]; then
    if act "remove the user $name"; then
      if [ -n "$(cat "$1/home")" ]; then userdel --remove -- "$name" 2>/dev/null; else userdel -- "$name"; fi
    fi
  elif act "let the user $name be as it was"; then
    IFS=: read -r _ _ _ gid comment home shell <"$1/before"
    groups=$(cat "$1/groups")
    usermod --gid "$gid" --comment "$comment" --home "$home" --shell "$shell" --groups "${groups%,}" -- "$name"
    if [ -s "$1/shadow" ]; then cut -d : -f 1,2 "$1/shadow" | chpasswd --encrypted; fi
  fi
}

# keys ID USER FILE: lines of ~/.ssh/authorized_keys, written as that user and no other
keys() {
  [ -f "$HERE/$3" ] || die "$HERE/$3 is missing"
  if absent "$1"; then
    fresh "$1" keys
    printf '%s\n' "$2" >"$STATE/new/user"
    keep
  fi
  if [ "$MODE" = check ]; then return 0; fi
  if [ "$MODE" != install ] && ! getent passwd "$2" >/dev/null; then
    act "add keys of $2" || return 0
  fi
  home=$(home_of "$2")
  [ -n "$home" ] || die "there is no user $2"
  if [ -n "$ITEM" ] && [ -f "$ITEM/lines" ] && cmp -s -- "$ITEM/lines" "$HERE/$3" \
    && as_user "$2" "$home" has <"$HERE/$3"; then return 0; fi
  if act "add keys of $2"; then
    if [ -f "$ITEM/lines" ]; then as_user "$2" "$home" without <"$ITEM/lines"; fi
    cat <"$HERE/$3" >"$ITEM/lines"
    as_user "$2" "$home" with <"$HERE/$3"
  fi
}

undo_keys() {
  user=$(cat "$1/user")
  if [ -f "$1/lines" ] && getent passwd "$user" >/dev/null && act "take the keys of $user away"; then
    as_user "$user" "$(home_of "$user")" without <"$1/lines"
  fi
}

# The home is its user's, links and all: what is done there is done with that user's rights. Lines come from the input.
as_user() {
  runuser -u "$1" -- sh -c '
    set -eu
    umask 077
    cd -- "$1"
    lines=$(cat)
    keys=.ssh/authorized_keys
    case $2 in
      has)
        [ -f "$keys" ]
        printf "%s\n" "$lines" | while IFS= read -r line; do grep -qxF -- "$line" "$keys" || exit 1; done
        ;;
      with)
        [ -d .ssh ] || mkdir -m 700 .ssh
        [ ! -s "$keys" ] || [ -z "$(tail -c 1 "$keys")" ] || echo >>"$keys"
        printf "%s\n" "$lines" | while IFS= read -r line; do
          grep -qsxF -- "$line" "$keys" || printf "%s\n" "$line" >>"$keys"
        done
        ;;
      without)
        [ -f "$keys" ] || exit 0
        list=$(mktemp .ssh/.keys.XXXXXX)
        printf "%s\n" "$lines" >"$list"
        grep -vxF -f "$list" "$keys" >"$list.kept" || :
        if [ -s "$list.kept" ]; then cat "$list.kept" >"$keys"; else rm -f "$keys"; fi
        rm -f "$list" "$list.kept"
        rmdir .ssh 2>/dev/null || :
        ;;
    esac' sh "$2" "$3"
}
"""
