# What the lines of the table of writers may use: $f is the file on machine a, $fb the same on b, $other another
# that holds "two", $number one that holds 42.

# typed WORD KEYS PROGRAM... types KEYS at a terminal as soon as WORD is on its screen.
typed() { python3 "$writers/type.py" "$@"; }

# gowrites FUNCTION FILE calls a function of a Go library.
gowrites() { KINGPIN_TEST_ROLE=library "$go" "$@"; }

# both F G changes the first byte of both at the same time.
both() { python3 "$writers/both.py" "$@"; }

# away SERVER returns when the server is gone; between SERVER FILE lets it go after the file was opened.
away() { echo "$1" >&3 && read -r <&4; }
between() { python3 "$writers/between.py" "$@"; }
