/* The agent protocol of tcp-conformance for a TCP stack with a C interface. Copy kit.h and kit.c into your tree.
 *
 * SPDX-License-Identifier: MIT-0
 * Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
 * documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
 * rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to
 * permit persons to whom the Software is furnished to do so.
 * THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
 * WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS
 * OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
 * OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
 *
 * The kit reads requests, checks their arguments, keeps sockets and the calls that wait, moves the clock and writes
 * replies. Your part is a `struct kit_stack`: functions that the kit calls, each a few lines on your stack's own
 * interface. Leave out (NULL) what your stack can't do: the agent then names no such capability, and refuses the call.
 * Your part tells the kit what happens by the functions at the end of this file. All of it runs in one thread.
 */
#ifndef KIT_H
#define KIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KIT_NEVER INT64_MAX
#define KIT_ADDRESS 64 /* octets of an address as text, with its final zero */

/* What the program was started with. The stack has one Ethernet interface, these addresses, and no router. */
struct kit_wire {
  uint8_t mac[6];
  char ipv4[KIT_ADDRESS], ipv6[KIT_ADDRESS];
  int ipv4_prefix, ipv6_prefix; /* length in bits */
  int mtu;
  bool is_virtual; /* the harness moves the clock; else it is the machine's */
};

/* A socket of the application: a listener or a connection. */
struct kit_socket {
  void *handle; /* yours: what the stack knows it by */
  int family;   /* 4 or 6 */
  char address[KIT_ADDRESS];
  unsigned port; /* of its own end, filled by `listen` and `connect`; of the remote end where a listener made it */
  bool listens, connected;
  bool ended;        /* the peer's FIN arrived */
  bool shut;         /* the application will send nothing more */
  const char *fault; /* the code of what ended the connection, or NULL */
  struct kit_inner *inner; /* the kit's */
};

/* Your stack. A function that returns an error returns NULL for success, else the POSIX name ("EADDRINUSE"). Addresses
 * are numeric texts of the socket's family, "" for any.
 */
struct kit_stack {
  const char *name, *version;
  const char *capabilities; /* beyond the calls, with spaces between: "ipv4 ipv6 half-close options:TCP_NODELAY" */

  /* Bind a new connection or listener to a local address; port 0: any. Options follow, then `listen` or `connect`. */
  const char *(*open)(struct kit_socket *, const char *address, unsigned port, bool reuse);
  const char *(*listen)(struct kit_socket *, int backlog);
  const char *(*connect)(struct kit_socket *, const char *address, unsigned port); /* send the SYN, don't wait */

  /* Take what there is room for; 0 octets: the kit tries again after whatever happens next. */
  const char *(*send)(struct kit_socket *, const void *data, size_t length, size_t *taken);
  void (*received)(struct kit_socket *, size_t length); /* the application has read so many octets: open the window */
  const char *(*shutdown)(struct kit_socket *, bool sending, bool receiving);
  void (*close)(struct kit_socket *); /* the application forgets it, listeners too; the connection closes by itself */
  void (*abort)(struct kit_socket *); /* ABORT of RFC 9293: a RST where one is due */

  /* The rest may be missing in any agent. */
  bool (*forgotten)(struct kit_socket *); /* the stack dropped the connection and told nobody */
  const char *(*state)(int family, const char *address, unsigned port, const char *remote_address,
                       unsigned remote_port); /* "FIN-WAIT-1", ... */
  const char *(*set_option)(struct kit_socket *, const char *level, const char *name, long long value);
  const char *(*get_option)(struct kit_socket *, const char *level, const char *name, long long *value);

  void (*frame)(const void *frame, size_t length); /* one Ethernet frame arrived */
  void (*settle)(void);           /* do what was put off; called before the kit looks which calls it can answer */
  int64_t (*next_timer_ns)(void); /* when the stack's next timer is due, by kit_now_ns(); KIT_NEVER: none */
  void (*run_timers)(void);       /* run those that are due */
};

/* main() calls these two. kit_run never returns. */
const struct kit_wire *kit_start(void);
void kit_run(const struct kit_stack *stack);

/* The stack's clock in ns: let it be the only one that your stack reads. */
int64_t kit_now_ns(void);

/* Send an Ethernet frame. */
void kit_send_frame(const void *frame, size_t length);

/* Return `code`, with a message for people that goes with it into the reply. */
const char *kit_error(const char *code, const char *form, ...) __attribute__((format(printf, 2, 3)));

/* What happens to a socket. */
struct kit_socket *kit_accepted(struct kit_socket *listener, void *handle, const char *address, unsigned port);
void kit_connected(struct kit_socket *);
void kit_arrived(struct kit_socket *, const void *data, size_t length); /* octets, in order; the kit keeps a copy */
void kit_ended(struct kit_socket *);                                    /* the peer's FIN, after all octets before it */
void kit_failed(struct kit_socket *, const char *code); /* the end: "ECONNRESET", "ETIMEDOUT", ... */

#ifdef __cplusplus
}
#endif

#endif
