"""The part of install.sh for containers, by plain calls of docker or podman. Plain POSIX sh."""

from typing import Final

ENGINE: Final = r"""
engine() {
  for program in ${ENGINE:-docker podman}; do
    if command -v "$program" >/dev/null 2>&1 && "$program" info >/dev/null 2>&1; then
      ENGINE=$program
      return 0
    fi
  done
  die "neither docker nor podman answers here: nothing was changed (--no-containers leaves containers out)"
}

# image ID REFERENCE POLICY: fetched before anything that runs is touched
image() {
  there=no
  if "$ENGINE" image inspect -- "$2" >/dev/null 2>&1; then there=yes; fi
  case $3:$there in
    Never:no) die "the image $2 is not here, and is not to be fetched" ;;
    *:no)
      if absent "$1"; then
        fresh "$1" image
        printf '%s\n' "$2" >"$STATE/new/reference"
        keep
      fi
      if act "fetch the image $2"; then "$ENGINE" pull -- "$2" >/dev/null || die "the image $2 cannot be fetched"; fi
      ;;
    Always:yes)
      if [ "$MODE" = install ] && ! "$ENGINE" pull -- "$2" >/dev/null 2>&1; then
        warn "the image $2 cannot be fetched again: the one that is here is taken"
      fi
      ;;
  esac
  SEEN="$SEEN $1 "
}

undo_image() {
  reference=$(cat "$1/reference")
  if act "remove the image $reference"; then
    "$ENGINE" image rm -- "$reference" >/dev/null 2>&1 || say "kept the image $reference: it is in use"
  fi
}

# network ID NAME
network() {
  if ! "$ENGINE" network inspect -- "$2" >/dev/null 2>&1; then
    if absent "$1"; then
      fresh "$1" network
      printf '%s\n' "$2" >"$STATE/new/name"
      keep
    fi
    if act "make the network $2"; then "$ENGINE" network create -- "$2" >/dev/null; fi
  fi
  SEEN="$SEEN $1 "
}

undo_network() {
  if act "remove the network $(cat "$1/name")"; then "$ENGINE" network rm -- "$(cat "$1/name")" >/dev/null 2>&1 || :; fi
}

label_of() { "$ENGINE" container inspect --format "{{index .Config.Labels \"$2\"}}" -- "$1" 2>/dev/null || :; }

containers_of() { "$ENGINE" ps --all --filter "label=ejected.pod=$1" --format '{{.Names}}'; }

# pod ID NAME DIGEST FIRST CONTAINERS...: one whose containers are made from something else is taken away whole
pod() {
  id=$1 POD=$NAME/$2 VOLUMES=$STATE/pods/$2 digest=$3 first=$4
  shift 4
  for each in "$@"; do
    if "$ENGINE" container inspect -- "$each" >/dev/null 2>&1; then
      [ "$(label_of "$each" ejected.pod)" = "$POD" ] || die "there is a container $each that is not of this folder"
    fi
  done
  STALE=no
  STANDS=no
  for each in $(containers_of "$POD"); do
    [ "$(label_of "$each" ejected.digest)" = "$digest" ] || STALE=yes
    if [ "$each" = "$first" ]; then STANDS=yes; fi
  done
  if absent "$id"; then
    fresh "$id" pod
    printf '%s\n' "$POD" >"$STATE/new/name"
    printf '%s\n' "$VOLUMES" >"$STATE/new/volumes"
    keep
  fi
  if [ "$STALE" = yes ]; then
    STANDS=no
    if act "remove the containers of $POD: they change"; then remove_pod "$POD" "$VOLUMES"; fi
  fi
  DIGEST=$digest
  if [ "$MODE" = install ]; then mkdir -p -m 755 -- "$VOLUMES"; fi
}

remove_pod() {
  for each in $(containers_of "$1"); do "$ENGINE" stop -- "$each" >/dev/null; done
  for each in $(containers_of "$1"); do "$ENGINE" rm --force --volumes -- "$each" >/dev/null; done
  rm -rf -- "$2"
}

undo_pod() {
  if act "remove the containers of $(cat "$1/name")"; then remove_pod "$(cat "$1/name")" "$(cat "$1/volumes")"; fi
}

# shelf VOLUME MODE: a folder that lives with its Pod
shelf() {
  if [ "$MODE" = install ] && [ ! -d "$VOLUMES/$1" ]; then
    mkdir -- "$VOLUMES/$1"
    chmod "$2" "$VOLUMES/$1"
  fi
}

# volume SOURCE PATH MODE: a file of a volume that is only read
volume() {
  [ -f "$HERE/$1" ] || die "$HERE/$1 is missing"
  [ "$MODE" = install ] || return 0
  if [ -f "$VOLUMES/$2" ] && cmp -s -- "$HERE/$1" "$VOLUMES/$2" && as_said "$VOLUMES/$2" "$3" '' ''; then return 0; fi
  inside=$VOLUMES/$2
  (umask 022 && mkdir -p -- "${inside%/*}")
  TEMPORARY=$(mktemp "${inside%/*}/.ejected.XXXXXX")
  cat <"$HERE/$1" >"$TEMPORARY"
  chmod "$3" "$TEMPORARY"
  mv -f -- "$TEMPORARY" "$inside"
  TEMPORARY=
}

# claim PATH: a volume that outlives everything
claim() {
  if [ ! -d "$1" ] && act "make the folder $1"; then
    mkdir -p -- "$1"
    chmod 777 "$1"
  fi
}

# host PATH TYPE: what of the machine a container sees
host() {
  case $2 in
    DirectoryOrCreate) if [ ! -d "$1" ] && act "make the folder $1"; then folders "$1"; fi ;;
    FileOrCreate)
      if [ ! -f "$1" ] && act "make the file $1"; then
        folders "${1%/*}"
        (umask 022 && : >"$1")
      fi
      ;;
    *) if [ "$MODE" = install ] && [ ! -e "$1" ]; then warn "$1 is not there yet, and a container is to see it"; fi ;;
  esac
}

# The client's environment is how secrets reach it: other people of the machine see the words of a program, not that.
create() (
  ej_engine=$ENGINE ej_here=$HERE ej_name=$1 ej_secrets=$4 ej_pod=$POD ej_digest=$DIGEST
  shift 4
  if [ -n "$ej_secrets" ]; then
    for ej_file in "$ej_here/$ej_secrets"/*; do
      ej_value=$(cat "$ej_file" && printf x) || exit 1
      export "${ej_file##*/}=${ej_value%x}"
    done
  fi
  exec "$ej_engine" create --name "$ej_name" --label "ejected.pod=$ej_pod" --label "ejected.digest=$ej_digest" "$@" >/dev/null
)

# container NAME KIND RESTART SECRETS WORDS...: KIND is init or main, SECRETS a folder of variables or ""
container() {
  if [ "$2" = init ] && [ "$STANDS" = yes ]; then return 0; fi
  now=
  if [ "$STALE" = no ] || [ "$MODE" = install ]; then
    now=$("$ENGINE" container inspect --format '{{.State.Status}} {{.State.ExitCode}}' -- "$1" 2>/dev/null) || now=
  fi
  if [ -z "$now" ]; then
    if act "make the container $1"; then create "$@" || die "the container $1 cannot be made"; fi
    now=created
  fi
  case $now:$3 in
    running* | restarting*) ;;
    'exited 0':on-failure* | exited*:no) ;;
    *)
      if act "start the container $1"; then
        "$ENGINE" start -- "$1" >/dev/null || die "the container $1 does not start"
      fi
      ;;
  esac
  if [ "$2" = init ] && [ "$MODE" = install ]; then wait_for "$1"; fi
}

# wait_for NAME: until it has ended well; five minutes
wait_for() {
  left=300
  while :; do
    now=$("$ENGINE" container inspect --format '{{.State.Status}} {{.State.ExitCode}}' -- "$1")
    case $now in
      'exited 0') return 0 ;;
      exited*) [ "$left" -gt 0 ] || die "the container $1 ended with status ${now#exited }" ;;
    esac
    [ "$left" -gt 0 ] || die "the container $1 does not end"
    left=$((left - 1))
    sleep 1
  done
}
"""
