# Runs a command that gets no io_uring: io_uring_setup answers EPERM, by seccomp. For machines where it is forbidden,
# and for valgrind, which lets no other thread run while one waits in io_uring_enter.
#
#   perl without-io_uring.pl COMMAND ARGUMENT...          (x86-64)
use strict;

# Load the system call's number; io_uring_setup is 425; EPERM; else allow.
my @filter = ([0x20, 0, 0, 0], [0x15, 0, 1, 425], [0x06, 0, 0, 0x00050001], [0x06, 0, 0, 0x7fff0000]);
my $code = join '', map { pack 'SCCL', @$_ } @filter;
my $program = pack 'S x6 P', scalar @filter, $code;
# prctl(PR_SET_NO_NEW_PRIVS), seccomp(SECCOMP_SET_MODE_FILTER).
syscall(157, 38, 1, 0, 0, 0) == 0 or die "no_new_privs: $!\n";
syscall(317, 1, 0, $program) == 0 or die "seccomp: $!\n";
exec @ARGV or die "$ARGV[0]: $!\n";
