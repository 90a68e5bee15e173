# Flags by the stars of the provider that a message is proven to come from. For Dovecot
# (Pigeonhole) and any other Sieve (RFC 5228) with imap4flags; run it as sieve_before.
#
# One asterisk is half a star: seven of them are 3.5 stars or more, the line of "protected".
# A message without stars says so: some Peer-Score has "status=". Look for that first. A sender
# may write more fields of its own than peerscore removes, which then count for nothing.
require ["imap4flags"];

if header :contains "Peer-Score" "status=unauthenticated" {
    # Nothing proves that it comes from where it says.
    addflag "$PeerUnproven";
} elsif header :contains "Peer-Score" "status=" {
    # No stars, whatever other fields say.
} elsif allof (header :contains "Peer-Score-Identity" "*******",
               header :contains "Peer-Score-Integrity" "*******") {
    addflag "$PeerProtected";
} elsif allof (header :matches "Peer-Score" "*; identity=*",
               not header :contains "Peer-Score-Identity" "*****") {
    # Proven, and its provider has less than 2.5 stars against forgery.
    addflag "$PeerUnprotected";
}
