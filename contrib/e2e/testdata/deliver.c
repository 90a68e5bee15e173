// The local mailer of the laboratory's Sendmail: puts each message into a file of its own in
// DIR/mail, whole from the beginning.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(void) {
  char incoming[] = DIR "/incoming/XXXXXXXXXX", mail[] = DIR "/mail/XXXXXXXXXX", buffer[65536];
  int fd = mkstemp(incoming);
  ssize_t n;
  while ((n = read(0, buffer, sizeof buffer)) > 0)
    if (write(fd, buffer, n) != n)
      return 75; // EX_TEMPFAIL
  memcpy(mail + sizeof mail - 11, incoming + sizeof incoming - 11, 10);
  return fd < 0 || n < 0 || link(incoming, mail) != 0 || unlink(incoming) != 0 ? 75 : 0;
}
