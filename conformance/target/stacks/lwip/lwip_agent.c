/* lwIP and its agent in one process: docs/agent-protocol.md says what it speaks.
 *
 * The stack is driven by one thread through its raw API. Its clock is ours: sys_now() is defined here and takes the place
 * of the library's. With TCP_CONFORMANCE_CLOCK=virtual time passes only in the operation `clock`.
 *
 * Rules:
 * 1. A pcb belongs to a socket as long as it is on one of lwIP's lists and has that socket as its argument: lwIP frees
 *    pcbs on its own, after TIME-WAIT without telling anybody.
 * 2. Octets count as received (tcp_recved) only when a request has read them.
 * 3. What waits is a request in one queue; `serve` looks at all of them after everything that happened.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "json.h"
#include "lwip/ethip6.h"
#include "lwip/etharp.h"
#include "lwip/init.h"
#include "lwip/nd6.h"
#include "lwip/netif.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/sys.h"
#include "lwip/tcp.h"
#include "lwip/tcpip.h"
#include "lwip/timeouts.h"
#include "netif/ethernet.h"

#define MS 1000000LL
#define NEVER INT64_MAX
#define LONGEST_LINE (16 << 20)
#define LONGEST_FRAME 65535
#define START_NS (1000000LL * MS) /* of the virtual clock */

/* The clock */

static bool is_virtual;
static int64_t virtual_ns = START_NS;

static int64_t clock_ns(clockid_t which) {
  struct timespec now;
  clock_gettime(which, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static int64_t now_ns(void) { return is_virtual ? virtual_ns : clock_ns(CLOCK_MONOTONIC); }

/* What a reply is stamped with. */
static int64_t stamp_ns(void) { return is_virtual ? virtual_ns : clock_ns(CLOCK_REALTIME); }

u32_t sys_now(void) { return (u32_t)(now_ns() / MS); }

/* What lwIP would have its own thread do, which there is none of: frames to itself (netif_loop_output). */

static struct {
  tcpip_callback_fn function;
  void *context;
} later[64];
static size_t how_many_later;

err_t tcpip_try_callback(tcpip_callback_fn function, void *context) {
  if (how_many_later == sizeof later / sizeof *later) return ERR_MEM;
  later[how_many_later].function = function;
  later[how_many_later++].context = context;
  return ERR_OK;
}

static void do_later(void) {
  for (size_t i = 0; i < how_many_later; i++) later[i].function(later[i].context);
  how_many_later = 0;
}

/* Octets */

struct octets {
  char *data;
  size_t from, to, room;
};

static void append(struct octets *one, const void *data, size_t length) {
  if (one->from == one->to) one->from = one->to = 0;
  if (one->room - one->to < length) {
    one->room = (one->to + length) * 2;
    one->data = realloc(one->data, one->room);
    if (one->data == NULL) abort();
  }
  memcpy(one->data + one->to, data, length);
  one->to += length;
}

static size_t many(const struct octets *one) { return one->to - one->from; }

static const char BASE64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static char *encoded(const char *data, size_t length) {
  char *out = malloc(length / 3 * 4 + 8), *at = out;
  if (out == NULL) abort();
  for (size_t i = 0; i < length; i += 3) {
    uint32_t bits = (uint8_t)data[i] << 16;
    if (i + 1 < length) bits |= (uint8_t)data[i + 1] << 8;
    if (i + 2 < length) bits |= (uint8_t)data[i + 2];
    *at++ = BASE64[bits >> 18];
    *at++ = BASE64[bits >> 12 & 63];
    *at++ = i + 1 < length ? BASE64[bits >> 6 & 63] : '=';
    *at++ = i + 2 < length ? BASE64[bits & 63] : '=';
  }
  *at = 0;
  return out;
}

static bool decoded(const char *text, size_t length, struct octets *into) {
  if (length % 4 != 0) return false;
  for (size_t i = 0; i < length; i += 4) {
    uint32_t bits = 0;
    int pads = 0;
    for (int k = 0; k < 4; k++) {
      char c = text[i + k];
      const char *found = c ? strchr(BASE64, c) : NULL;
      bool pad = c == '=' && k > 1 && i + 4 == length;
      if ((found == NULL && !pad) || (pads && !pad)) return false;
      pads += pad;
      bits = bits << 6 | (pad ? 0 : (uint32_t)(found - BASE64));
    }
    char three[3] = {(char)(bits >> 16), (char)(bits >> 8), (char)bits};
    append(into, three, 3 - pads);
  }
  return true;
}

/* Sockets and waiting requests */

struct sock {
  int number; /* 0: waits for accept */
  int family;
  bool listener, connected, eof, shut, lingers;
  int linger_s;
  struct tcp_pcb *pcb;
  struct tcp_pcb_listen *listen_pcb;
  const char *fault; /* what ended the connection */
  struct octets unread;
  struct sock *of; /* the listener that it waits at */
  struct sock *next;
};

struct request {
  long long id;
  const struct operation *operation;
  struct sock *sock;
  int64_t until_ns;
  size_t count, maximum;
  bool peek, at_once; /* at_once: answered with what was done, never waits */
  struct octets data;
  size_t sent;
  struct request *next;
};

static struct sock *sockets;
static struct request *requests;
static int last_socket;
static long long frames_in, frames_out;
static bool said; /* a frame or a reply has left since the last `clock` */
static bool in_timers;
static int link_fd = -1;
static struct netif wire;

static struct sock *new_sock(int family) {
  struct sock *one = calloc(1, sizeof *one);
  if (one == NULL) abort();
  one->family = family;
  struct sock **place = &sockets;
  while (*place != NULL) place = &(*place)->next;
  *place = one;
  return one;
}

static bool is_on(const struct tcp_pcb *list, const struct tcp_pcb *pcb) {
  for (; list != NULL; list = list->next)
    if (list == pcb) return true;
  return false;
}

/* The socket's pcb, if lwIP still has it (rule 1). */
static struct tcp_pcb *pcb_of(struct sock *one) {
  if (one->pcb == NULL) return NULL;
  if ((is_on(tcp_active_pcbs, one->pcb) || is_on(tcp_tw_pcbs, one->pcb) || is_on(tcp_bound_pcbs, one->pcb)) &&
      one->pcb->callback_arg == one)
    return one->pcb;
  one->pcb = NULL;
  return NULL;
}

/* Take the pcb away from its socket: lwIP goes on with it alone. */
static struct tcp_pcb *let_go(struct sock *one) {
  struct tcp_pcb *pcb = pcb_of(one);
  if (pcb != NULL) {
    tcp_arg(pcb, NULL);
    if (pcb->state != LISTEN) {
      tcp_recv(pcb, NULL);
      tcp_sent(pcb, NULL);
      tcp_err(pcb, NULL);
    }
  }
  one->pcb = NULL;
  return pcb;
}

static void free_sock(struct sock *one) {
  struct sock **place = &sockets;
  while (*place != one) place = &(*place)->next;
  *place = one->next;
  free(one->unread.data);
  free(one);
}

static void abort_sock(struct sock *one) {
  struct tcp_pcb *pcb = let_go(one);
  if (pcb != NULL) tcp_abort(pcb);
}

/* Replies */

static void reply(long long id, const char *form, ...) {
  va_list arguments;
  printf("{\"id\":%lld,\"ok\":{", id);
  va_start(arguments, form);
  vprintf(form, arguments);
  va_end(arguments);
  printf("},\"at_ns\":%lld}\n", (long long)stamp_ns());
  said = true;
}

static void refuse(long long id, const char *code, const char *form, ...) {
  char message[200];
  va_list arguments;
  va_start(arguments, form);
  vsnprintf(message, sizeof message, form, arguments);
  va_end(arguments);
  for (char *at = message; *at != 0; at++)
    if ((unsigned char)*at < 0x20 || (unsigned char)*at > 0x7E || *at == '"' || *at == '\\') *at = '?';
  if (id < 0)
    printf("{\"id\":null,");
  else
    printf("{\"id\":%lld,", id);
  printf("\"error\":{\"code\":\"%s\",\"message\":\"%s\"},\"at_ns\":%lld}\n", code, message, (long long)stamp_ns());
  said = true;
}

static const char *code_of(err_t error) {
  switch (error) {
    case ERR_MEM: return "ENOMEM";
    case ERR_BUF: return "ENOBUFS";
    case ERR_TIMEOUT: return "ETIMEDOUT";
    case ERR_RTE: return "EHOSTUNREACH";
    case ERR_INPROGRESS: return "EINPROGRESS";
    case ERR_USE: return "EADDRINUSE";
    case ERR_ALREADY: return "EALREADY";
    case ERR_ISCONN: return "EISCONN";
    case ERR_CONN:
    case ERR_CLSD: return "ENOTCONN";
    case ERR_IF: return "ENETDOWN";
    case ERR_ABRT: return "ECONNABORTED";
    case ERR_RST: return "ECONNRESET";
    default: return "EINVAL";
  }
}

static void told(long long id, err_t error, const char *call) {
  if (error == ERR_OK)
    reply(id, "%s", "");
  else
    refuse(id, code_of(error), "%s: lwIP's error %d", call, error);
}

/* lwIP's callbacks */

static err_t on_receive(void *argument, struct tcp_pcb *pcb, struct pbuf *data, err_t error) {
  struct sock *one = argument;
  (void)pcb;
  (void)error;
  if (data == NULL) {
    one->eof = true;
    return ERR_OK;
  }
  for (struct pbuf *part = data; part != NULL; part = part->next) append(&one->unread, part->payload, part->len);
  pbuf_free(data);
  return ERR_OK;
}

/* The pcb is gone, or about to go. */
static void on_error(void *argument, err_t error) {
  struct sock *one = argument;
  if (one == NULL) return;
  one->pcb = NULL;
  if (error == ERR_CLSD)
    one->eof = true; /* both ends have closed */
  else if (error == ERR_RST)
    one->fault = one->connected ? "ECONNRESET" : "ECONNREFUSED";
  else if (error == ERR_ABRT && in_timers)
    one->fault = "ETIMEDOUT";
  else
    one->fault = code_of(error);
}

static void adopt(struct sock *one, struct tcp_pcb *pcb) {
  one->pcb = pcb;
  tcp_arg(pcb, one);
  tcp_recv(pcb, on_receive);
  tcp_err(pcb, on_error);
}

static err_t on_accept(void *argument, struct tcp_pcb *pcb, err_t error) {
  struct sock *listener = argument;
  if (pcb == NULL || error != ERR_OK || listener == NULL) return ERR_VAL;
  struct sock *one = new_sock(listener->family);
  one->connected = true;
  one->of = listener;
  adopt(one, pcb);
  return ERR_OK;
}

static err_t on_connected(void *argument, struct tcp_pcb *pcb, err_t error) {
  struct sock *one = argument;
  (void)pcb;
  if (one != NULL && error == ERR_OK) one->connected = true;
  return ERR_OK;
}

/* Operations: each gets a request whose arguments were checked. */

struct call {
  long long id;
  const struct operation *operation;
  const struct json *arguments;
  struct sock *sock;
};

struct operation {
  const char *name;
  void (*run)(const struct call *call);
  /* "socket:i timeout:n?": i whole number, n number or null, s text, b truth value, a array, v anything; ?: may be left out */
  const char *arguments;
  bool (*serve)(struct request *request); /* of an operation that waits: whether it was answered */
};

static const struct operation OPERATIONS[];

static const struct json *argument(const struct call *call, const char *name) {
  return json_member(call->arguments, name);
}

static long long whole(const struct call *call, const char *name, long long otherwise) {
  const struct json *found = argument(call, name);
  return found != NULL && found->kind == JSON_NUMBER ? found->whole : otherwise;
}

static bool truth(const struct call *call, const char *name, bool otherwise) {
  const struct json *found = argument(call, name);
  return found != NULL ? found->truth : otherwise;
}

static const char *text(const struct call *call, const char *name) {
  const struct json *found = argument(call, name);
  return found != NULL ? found->text : "";
}

/* An argument that is an address and belongs to the family; refused where it is none. */
static bool address(const struct call *call, const char *name, int family, ip_addr_t *into) {
  const char *said_text = text(call, name);
  if (*said_text == 0) {
    *into = family == 6 ? *IP6_ADDR_ANY : *IP4_ADDR_ANY;
    return true;
  }
  if (!ipaddr_aton(said_text, into) || IP_IS_V6(into) != (family == 6)) {
    refuse(call->id, "bad-request", "%s: %.40s is no address of family %d", name, said_text, family);
    return false;
  }
  return true;
}

static bool port(const struct call *call, const char *name, u16_t *into) {
  long long value = whole(call, name, 0);
  if (value < 0 || value > 65535) {
    refuse(call->id, "bad-request", "%s: %lld is no port", name, value);
    return false;
  }
  *into = (u16_t)value;
  return true;
}

static bool family(const struct call *call, int *into) {
  *into = (int)whole(call, "family", 0);
  if (*into != 4 && *into != 6) {
    refuse(call->id, "bad-request", "family: 4 or 6 is needed, not %d", *into);
    return false;
  }
  return true;
}

static void opened(const struct call *call, struct sock *one, const ip_addr_t *at, u16_t its_port) {
  one->number = ++last_socket;
  reply(call->id, "\"socket\":%d,\"address\":\"%s\",\"port\":%u", one->number, ipaddr_ntoa(at), its_port);
}

/* Options */

enum option { KEEPALIVE, REUSE, LINGER, NODELAY, KEEPIDLE, KEEPINTVL, KEEPCNT, MAXSEG, TTL, TOS };

static const struct {
  const char *level, *name;
  enum option option;
} OPTIONS[] = {
    {"socket", "SO_KEEPALIVE", KEEPALIVE}, {"socket", "SO_REUSEADDR", REUSE}, {"socket", "SO_LINGER", LINGER},
    {"tcp", "TCP_NODELAY", NODELAY},       {"tcp", "TCP_KEEPIDLE", KEEPIDLE}, {"tcp", "TCP_KEEPINTVL", KEEPINTVL},
    {"tcp", "TCP_KEEPCNT", KEEPCNT},       {"tcp", "TCP_MAXSEG", MAXSEG},     {"ip", "IP_TTL", TTL},
    {"ipv6", "IPV6_UNICAST_HOPS", TTL},    {"ip", "IP_TOS", TOS},             {"ipv6", "IPV6_TCLASS", TOS},
};

static int option_of(const char *level, const char *name) {
  for (size_t i = 0; i < sizeof OPTIONS / sizeof *OPTIONS; i++)
    if (strcmp(OPTIONS[i].level, level) == 0 && strcmp(OPTIONS[i].name, name) == 0) return OPTIONS[i].option;
  return -1;
}

/* Sets an option; the code of a refusal, or NULL. */
static const char *set_option(struct sock *one, struct tcp_pcb *pcb, const char *level, const char *name,
                              const struct json *value) {
  int option = option_of(level, name);
  if (option < 0) return "ENOPROTOOPT";
  if (option == LINGER) {
    const struct json *on = value->kind == JSON_ARRAY ? value->first : NULL, *seconds = on ? on->next : NULL;
    if (seconds == NULL || !on->is_whole || !seconds->is_whole) return "EINVAL";
    one->lingers = on->whole != 0;
    one->linger_s = (int)seconds->whole;
    return NULL;
  }
  bool flag = value->kind == JSON_BOOL;
  if (!flag && !value->is_whole) return "EINVAL";
  long long number = flag ? value->truth : value->whole;
  if (pcb == NULL) return "ENOTCONN";
  bool listens = pcb->state == LISTEN; /* a tcp_pcb_listen is shorter */
  switch (option) {
    case KEEPALIVE:
    case REUSE:
      if (number)
        ip_set_option(pcb, option == REUSE ? SOF_REUSEADDR : SOF_KEEPALIVE);
      else
        ip_reset_option(pcb, option == REUSE ? SOF_REUSEADDR : SOF_KEEPALIVE);
      return NULL;
    case TTL:
    case TOS:
      if (number < 0 || number > 255) return "EINVAL";
      *(option == TTL ? &pcb->ttl : &pcb->tos) = (u8_t)number;
      return NULL;
  }
  if (listens) return "EINVAL";
  switch (option) {
    case NODELAY:
      if (number)
        tcp_nagle_disable(pcb);
      else
        tcp_nagle_enable(pcb);
      return NULL;
    case KEEPIDLE:
    case KEEPINTVL:
      if (number < 1 || number > 4000000) return "EINVAL";
      *(option == KEEPIDLE ? &pcb->keep_idle : &pcb->keep_intvl) = (u32_t)number * 1000;
      return NULL;
    case KEEPCNT:
      if (number < 1 || number > 1000) return "EINVAL";
      pcb->keep_cnt = (u32_t)number;
      return NULL;
  }
  return "EINVAL"; /* TCP_MAXSEG is lwIP's own */
}

static void op_option_set(const struct call *call) {
  struct sock *one = call->sock;
  struct tcp_pcb *pcb = one->listener ? (struct tcp_pcb *)one->listen_pcb : pcb_of(one);
  const char *code = set_option(one, pcb, text(call, "level"), text(call, "name"), argument(call, "value"));
  if (code != NULL)
    refuse(call->id, code, "%.40s", text(call, "name"));
  else
    reply(call->id, "%s", "");
}

static void op_option_get(const struct call *call) {
  struct sock *one = call->sock;
  struct tcp_pcb *pcb = one->listener ? (struct tcp_pcb *)one->listen_pcb : pcb_of(one);
  int option = option_of(text(call, "level"), text(call, "name"));
  long long value = 0;
  if (option < 0) {
    refuse(call->id, "ENOPROTOOPT", "%.40s", text(call, "name"));
    return;
  }
  if (option == LINGER) {
    reply(call->id, "\"value\":[%d,%d]", one->lingers, one->linger_s);
    return;
  }
  if (pcb == NULL) {
    refuse(call->id, "ENOTCONN", "lwIP has forgotten the connection");
    return;
  }
  if (pcb->state == LISTEN && option != KEEPALIVE && option != REUSE && option != TTL && option != TOS) {
    refuse(call->id, "EINVAL", "a listener has no %.40s", text(call, "name"));
    return;
  }
  switch (option) {
    case KEEPALIVE: value = ip_get_option(pcb, SOF_KEEPALIVE) != 0; break;
    case REUSE: value = ip_get_option(pcb, SOF_REUSEADDR) != 0; break;
    case TTL: value = pcb->ttl; break;
    case TOS: value = pcb->tos; break;
    case NODELAY: value = tcp_nagle_disabled(pcb) != 0; break;
    case KEEPIDLE: value = pcb->keep_idle / 1000; break;
    case KEEPINTVL: value = pcb->keep_intvl / 1000; break;
    case KEEPCNT: value = pcb->keep_cnt; break;
    case MAXSEG: value = pcb->mss; break;
  }
  reply(call->id, "\"value\":%lld", value);
}

/* The options of a new socket; refused, and false, where one can't be set. */
static bool with_options(const struct call *call, struct sock *one, struct tcp_pcb *pcb) {
  const struct json *options = argument(call, "options");
  for (const struct json *each = options ? options->first : NULL; each != NULL; each = each->next) {
    const struct json *level = each->kind == JSON_ARRAY ? each->first : NULL;
    const struct json *name = level ? level->next : NULL, *value = name ? name->next : NULL;
    if (value == NULL || value->next != NULL || level->kind != JSON_TEXT || name->kind != JSON_TEXT) {
      refuse(call->id, "bad-request", "options: [level, name, value] is needed");
      return false;
    }
    const char *code = set_option(one, pcb, level->text, name->text, value);
    if (code != NULL) {
      refuse(call->id, code, "options: %.40s", name->text);
      return false;
    }
  }
  return true;
}

/* Opening */

/* lwIP's tcp_bind takes any address. */
static bool is_ours(const ip_addr_t *address) {
  if (ip_addr_isany(address) || ip_addr_isloopback(address)) return true;
  if (IP_IS_V6(address)) return netif_get_ip6_addr_match(&wire, ip_2_ip6(address)) >= 0;
  return ip4_addr_cmp(ip_2_ip4(address), netif_ip4_addr(&wire));
}

static struct tcp_pcb *bound(const struct call *call, struct sock *one, bool reuse) {
  ip_addr_t local;
  u16_t its_port;
  if (!address(call, "address", one->family, &local) || !port(call, "port", &its_port)) return NULL;
  if (!is_ours(&local)) {
    refuse(call->id, "EADDRNOTAVAIL", "%s is no address of this host", text(call, "address"));
    return NULL;
  }
  struct tcp_pcb *pcb = tcp_new_ip_type(one->family == 6 ? IPADDR_TYPE_V6 : IPADDR_TYPE_V4);
  if (pcb == NULL) {
    refuse(call->id, "ENOMEM", "lwIP has no pcb left");
    return NULL;
  }
  if (reuse) ip_set_option(pcb, SOF_REUSEADDR);
  err_t error = tcp_bind(pcb, &local, its_port);
  if (error != ERR_OK) {
    /* tcp_bind says ERR_VAL for a pcb that is bound, ERR_USE for a port that is taken. */
    refuse(call->id, code_of(error), "tcp_bind: lwIP's error %d", error);
    tcp_close(pcb);
    return NULL;
  }
  if (!with_options(call, one, pcb)) {
    tcp_close(pcb);
    return NULL;
  }
  return pcb;
}

static void op_listen(const struct call *call) {
  int which;
  if (!family(call, &which)) return;
  struct sock *one = new_sock(which);
  struct tcp_pcb *pcb = bound(call, one, true);
  if (pcb == NULL) {
    free_sock(one);
    return;
  }
  err_t error;
  long long backlog = whole(call, "backlog", 16);
  struct tcp_pcb *listening =
      tcp_listen_with_backlog_and_err(pcb, (u8_t)(backlog < 1 ? 1 : backlog > 255 ? 255 : backlog), &error);
  if (listening == NULL) {
    refuse(call->id, code_of(error), "tcp_listen: lwIP's error %d", error);
    tcp_close(pcb);
    free_sock(one);
    return;
  }
  one->listener = true;
  one->listen_pcb = (struct tcp_pcb_listen *)listening;
  tcp_arg(listening, one);
  tcp_accept(listening, on_accept);
  opened(call, one, &listening->local_ip, listening->local_port);
}

static void op_connect(const struct call *call) {
  int which;
  ip_addr_t remote;
  u16_t remote_port;
  if (!family(call, &which) || !address(call, "remote_address", which, &remote) ||
      !port(call, "remote_port", &remote_port))
    return;
  struct sock *one = new_sock(which);
  struct tcp_pcb *pcb = bound(call, one, truth(call, "reuse", false));
  if (pcb == NULL) {
    free_sock(one);
    return;
  }
  adopt(one, pcb);
  err_t error = tcp_connect(pcb, &remote, remote_port, on_connected);
  if (error != ERR_OK) {
    refuse(call->id, code_of(error), "tcp_connect: lwIP's error %d", error);
    if ((pcb = let_go(one)) != NULL) tcp_close(pcb);
    free_sock(one);
    return;
  }
  opened(call, one, &pcb->local_ip, pcb->local_port);
}

/* What waits */

static void wait_for(const struct call *call, size_t count, size_t maximum) {
  struct request *one = calloc(1, sizeof *one);
  if (one == NULL) abort();
  const struct json *timeout = argument(call, "timeout");
  one->id = call->id;
  one->operation = call->operation;
  one->sock = call->sock;
  one->until_ns = NEVER;
  if (timeout != NULL && timeout->kind == JSON_NUMBER && timeout->number < 1e9) {
    double wait_s = timeout->number > 0 ? timeout->number : 0;
    one->until_ns = now_ns() + (int64_t)(wait_s * 1e9);
  }
  one->count = count;
  one->maximum = maximum;
  one->peek = truth(call, "peek", false);
  struct request **place = &requests;
  while (*place != NULL) place = &(*place)->next;
  *place = one;
}

static void op_accept(const struct call *call) {
  if (!call->sock->listener) {
    refuse(call->id, "EINVAL", "the socket does not listen");
    return;
  }
  wait_for(call, 0, 0);
}

static bool serve_accept(struct request *request) {
  for (struct sock *one = sockets; one != NULL; one = one->next) {
    if (one->of != request->sock) continue;
    struct tcp_pcb *pcb = pcb_of(one);
    one->of = NULL;
    one->number = ++last_socket;
    /* One that was reset meanwhile is handed out all the same, as a BSD socket would be. */
    reply(request->id, "\"socket\":%d,\"address\":\"%s\",\"port\":%u", one->number,
          pcb ? ipaddr_ntoa(&pcb->remote_ip) : "", pcb ? pcb->remote_port : 0);
    return true;
  }
  return false;
}

static void op_connected(const struct call *call) { wait_for(call, 0, 0); }

static bool serve_connected(struct request *request) {
  struct sock *one = request->sock;
  if (one->connected)
    reply(request->id, "%s", "");
  else if (one->fault != NULL || pcb_of(one) == NULL)
    refuse(request->id, one->fault ? one->fault : "ENOTCONN", "the connection was not opened");
  else
    return false;
  return true;
}

static void op_send(const struct call *call) {
  const struct json *data = argument(call, "data");
  if (truth(call, "urgent", false)) {
    refuse(call->id, "EOPNOTSUPP", "lwIP has no urgent data");
    return;
  }
  wait_for(call, 0, 0);
  struct request *one = requests;
  while (one->next != NULL) one = one->next;
  one->at_once = !truth(call, "wait", true);
  if (!decoded(data->text, data->length, &one->data)) {
    refuse(call->id, "bad-request", "data: base64 is needed");
    one->sock = NULL; /* swept by serve */
  }
}

static bool serve_send(struct request *request) {
  struct sock *one = request->sock;
  for (;;) {
    struct tcp_pcb *pcb = pcb_of(one);
    if (one->fault != NULL || one->shut || pcb == NULL) {
      bool never = one->fault == NULL && !one->shut && !one->connected;
      refuse(request->id, one->fault ? one->fault : never ? "ENOTCONN" : "EPIPE", "%zu octets were taken", request->sent);
      return true;
    }
    size_t left = many(&request->data), room = tcp_sndbuf(pcb);
    size_t piece = left < room ? left : room;
    if (piece > 0xFFFF) piece = 0xFFFF;
    if (left > 0 && piece > 0) {
      err_t error = tcp_write(pcb, request->data.data + request->data.from, (u16_t)piece,
                              (u8_t)(TCP_WRITE_FLAG_COPY | (piece < left ? TCP_WRITE_FLAG_MORE : 0)));
      if (error == ERR_OK) {
        request->data.from += piece;
        request->sent += piece;
        tcp_output(pcb);
        continue;
      }
      if (error != ERR_MEM) {
        refuse(request->id, error == ERR_CONN ? (one->connected ? "EPIPE" : "ENOTCONN") : code_of(error),
               "tcp_write: lwIP's error %d", error);
        return true;
      }
    }
    if (left > 0 && !request->at_once) return false;
    reply(request->id, "\"sent\":%zu", request->sent);
    return true;
  }
}

static void op_receive(const struct call *call) {
  if (truth(call, "urgent", false)) {
    refuse(call->id, "EOPNOTSUPP", "lwIP has no urgent data");
    return;
  }
  if (call->sock->listener) {
    refuse(call->id, "ENOTCONN", "the socket listens");
    return;
  }
  long long count = whole(call, "count", 1), maximum = whole(call, "maximum", 65536);
  if (count < 0 || maximum < 1 || count > LONGEST_LINE / 2) {
    refuse(call->id, "bad-request", "%s: out of range", count < 0 || count > LONGEST_LINE / 2 ? "count" : "maximum");
    return;
  }
  wait_for(call, (size_t)count, (size_t)(maximum < count ? count : maximum > LONGEST_LINE / 2 ? LONGEST_LINE / 2 : maximum));
}

static bool serve_receive(struct request *request) {
  struct sock *one = request->sock;
  struct tcp_pcb *pcb = pcb_of(one);
  size_t there = many(&one->unread), taken = there < request->maximum ? there : request->maximum;
  const char *fault = one->fault;
  /* lwIP tells nobody when the end of TIME-WAIT takes the pcb. */
  bool ended = one->eof || fault != NULL || pcb == NULL;
  if (there < request->count && !ended) return false;
  if (there == 0 && fault != NULL) {
    refuse(request->id, fault, "the connection has ended");
    return true;
  }
  if (there == 0 && !one->eof && pcb == NULL) {
    refuse(request->id, "ENOTCONN", "there is no connection");
    return true;
  }
  char *data = encoded(one->unread.data ? one->unread.data + one->unread.from : "", taken);
  if (!request->peek) one->unread.from += taken;
  bool at_end = taken == there && (one->eof && fault == NULL);
  if (taken == there && fault != NULL)
    reply(request->id, "\"data\":\"%s\",\"eof\":false,\"error_after\":\"%s\"", data, fault);
  else
    reply(request->id, "\"data\":\"%s\",\"eof\":%s", data, at_end && taken < (request->count ? request->count : 1) ? "true" : "false");
  free(data);
  for (size_t left = request->peek ? 0 : taken; left > 0 && (pcb = pcb_of(one)) != NULL && pcb->state != TIME_WAIT;) {
    u16_t piece = (u16_t)(left < 0xFFFF ? left : 0xFFFF);
    tcp_recved(pcb, piece);
    left -= piece;
  }
  return true;
}

/* Serve what can be served, in order: of two requests that wait for the same thing the earlier first. */
static void serve(void) {
  bool again;
  do_later();
  do {
    again = false;
    for (struct request **place = &requests; *place != NULL;) {
      struct request *one = *place;
      bool gone = one->sock == NULL, first = true;
      for (struct request *earlier = requests; earlier != one; earlier = earlier->next)
        first = first && (earlier->sock != one->sock || earlier->operation != one->operation);
      if (!gone && first) gone = one->operation->serve(one);
      if (!gone && one->at_once) {
        reply(one->id, "\"sent\":0"); /* an earlier one still waits for room */
        gone = true;
      }
      if (!gone && one->until_ns <= now_ns()) {
        refuse(one->id, "timeout", "%s: nothing came in time", one->operation->name);
        gone = true;
      }
      if (!gone) {
        place = &one->next;
        continue;
      }
      *place = one->next;
      free(one->data.data);
      free(one);
      again = true;
    }
  } while (again);
}

static int64_t next_deadline_ns(void) {
  int64_t first = NEVER;
  for (struct request *one = requests; one != NULL; one = one->next)
    if (one->until_ns < first) first = one->until_ns;
  u32_t sleep_ms = sys_timeouts_sleeptime();
  if (sleep_ms != SYS_TIMEOUTS_SLEEPTIME_INFINITE) {
    int64_t timer = (now_ns() / MS + sleep_ms) * MS;
    if (timer < first) first = timer;
  }
  return first;
}

/* Closing */

static void op_shutdown(const struct call *call) {
  struct sock *one = call->sock;
  const char *how = text(call, "how");
  bool send = strcmp(how, "send") == 0, receive = strcmp(how, "receive") == 0, both = strcmp(how, "both") == 0;
  if (!send && !receive && !both) {
    refuse(call->id, "bad-request", "how: send, receive or both is needed");
    return;
  }
  struct tcp_pcb *pcb = pcb_of(one);
  if (one->listener || pcb == NULL) {
    refuse(call->id, "ENOTCONN", "there is no connection");
    return;
  }
  if (send && one->shut) { /* lwIP says ERR_CONN; a socket that is shut down twice stays shut down */
    reply(call->id, "%s", "");
    return;
  }
  err_t error = tcp_shutdown(pcb, receive || both, send || both);
  if (error == ERR_OK) one->shut = one->shut || send || both;
  told(call->id, error, "tcp_shutdown");
}

/* Requests of a socket that goes away get no other answer; connections that nobody accepted go with their listener. */
static void forget(struct sock *one) {
  for (struct request *request = requests; request != NULL; request = request->next)
    if (request->sock == one) {
      refuse(request->id, "no-such-socket", "the socket was closed");
      request->sock = NULL;
    }
  for (struct sock *each = sockets, *next; each != NULL; each = next) {
    next = each->next;
    if (each->of == one) {
      abort_sock(each);
      free_sock(each);
    }
  }
  free_sock(one);
}

static void end(const struct call *call, bool by_reset) {
  struct sock *one = call->sock;
  if (one->listener) {
    tcp_arg((struct tcp_pcb *)one->listen_pcb, NULL);
    tcp_close((struct tcp_pcb *)one->listen_pcb);
  } else if (by_reset || (one->lingers && one->linger_s == 0)) {
    abort_sock(one);
  } else {
    struct tcp_pcb *pcb = let_go(one);
    if (pcb != NULL) tcp_close(pcb);
  }
  reply(call->id, "%s", "");
  forget(one);
}

static void op_close(const struct call *call) { end(call, false); }
static void op_abort(const struct call *call) { end(call, true); }

/* What is asked */

static void op_error(const struct call *call) {
  const char *fault = call->sock->fault;
  if (fault != NULL)
    reply(call->id, "\"code\":\"%s\"", fault);
  else
    reply(call->id, "\"code\":null");
}

static const char *const STATES[] = {"CLOSED",     "LISTEN",     "SYN-SENT", "SYN-RECEIVED", "ESTABLISHED", "FIN-WAIT-1",
                                     "FIN-WAIT-2", "CLOSE-WAIT", "CLOSING",  "LAST-ACK",     "TIME-WAIT"};

static void op_state(const struct call *call) {
  int which;
  ip_addr_t local, remote;
  u16_t local_port, remote_port;
  if (!family(call, &which) || !address(call, "address", which, &local) || !port(call, "port", &local_port) ||
      !address(call, "remote_address", which, &remote) || !port(call, "remote_port", &remote_port))
    return;
  const char *state = "CLOSED";
  for (struct tcp_pcb_listen *one = tcp_listen_pcbs.listen_pcbs; one != NULL; one = one->next)
    if (one->local_port == local_port && IP_IS_V6(&one->local_ip) == (which == 6) &&
        (ip_addr_isany(&one->local_ip) || ip_addr_isany(&local) || ip_addr_cmp(&one->local_ip, &local)))
      state = "LISTEN";
  struct tcp_pcb *lists[] = {tcp_active_pcbs, tcp_tw_pcbs};
  for (int i = 0; i < 2 && remote_port != 0; i++)
    for (struct tcp_pcb *one = lists[i]; one != NULL; one = one->next)
      if (one->local_port == local_port && one->remote_port == remote_port && ip_addr_cmp(&one->remote_ip, &remote) &&
          (ip_addr_isany(&local) || ip_addr_cmp(&one->local_ip, &local)))
        state = STATES[one->state];
  reply(call->id, "\"state\":\"%s\"", state);
}

static void op_sockets(const struct call *call) {
  int count = 0, pending = 0;
  for (struct sock *one = sockets; one != NULL; one = one->next) count += one->number != 0;
  for (struct request *one = requests; one != NULL; one = one->next) pending += one->sock != NULL;
  reply(call->id, "\"count\":%d,\"pending\":%d", count, pending);
}

static void op_cancel(const struct call *call) {
  long long id = whole(call, "request", -1);
  for (struct request *one = requests; one != NULL; one = one->next)
    if (one->id == id && one->sock != NULL) {
      one->sock = NULL;
      refuse(id, "cancelled", "%s", one->operation->name);
      reply(call->id, "\"cancelled\":true");
      return;
    }
  reply(call->id, "\"cancelled\":false");
}

/* What the stack agrees to in a handshake is not said: the harness finds it by asking. */
static void say_hello(void) {
  printf("\"name\":\"lwip\",\"version\":\"%s\",\"agent\":\"1\",\"protocol\":1,\"capabilities\":[\"listen\",\"accept\","
         "\"connect\",\"send\",\"receive\",\"shutdown\",\"close\",\"abort\",\"error\",\"state\","
         "\"ipv4\",\"ipv6\",\"half-close\",\"keepalive\",\"virtual-time\"",
         LWIP_VERSION_STRING);
  for (size_t i = 0; i < sizeof OPTIONS / sizeof *OPTIONS; i++)
    if (OPTIONS[i].option != MAXSEG) printf(",\"options:%s\"", OPTIONS[i].name); /* lwIP tells that one, and takes none */
  putchar(']');
}

static void op_hello(const struct call *call) {
  printf("{\"id\":%lld,\"ok\":{", call->id);
  say_hello();
  printf("},\"at_ns\":%lld}\n", (long long)stamp_ns());
  said = true;
}

/* Frames */

static err_t on_output(struct netif *netif, struct pbuf *data) {
  static char frame[LONGEST_FRAME];
  (void)netif;
  u16_t length = pbuf_copy_partial(data, frame, sizeof frame, 0);
  frames_out++;
  said = true;
  while (write(link_fd, frame, length) < 0) {
    struct pollfd ready = {link_fd, POLLOUT, 0};
    if (errno == EAGAIN)
      poll(&ready, 1, 1000);
    else if (errno != EINTR)
      return ERR_IF;
  }
  return ERR_OK;
}

static void read_frames(void) {
  static char frame[LONGEST_FRAME];
  ssize_t length;
  while ((length = read(link_fd, frame, sizeof frame)) > 0) {
    frames_in++;
    /* Not from the pool: Debian's library takes its elements for longer than they are. */
    struct pbuf *data = pbuf_alloc(PBUF_RAW, (u16_t)length, PBUF_RAM);
    if (data == NULL) continue;
    pbuf_take(data, frame, (u16_t)length);
    if (wire.input(data, &wire) != ERR_OK) pbuf_free(data);
    serve();
  }
  if (length == 0 || (length < 0 && errno != EAGAIN && errno != EINTR)) exit(0); /* the harness has let go of the wire */
}

static void op_clock(const struct call *call) {
  int64_t until = whole(call, "until_ns", 0);
  long long expected = whole(call, "frames_in", 0);
  if (!is_virtual) {
    refuse(call->id, "unknown-op", "the clock is the machine's");
    return;
  }
  read_frames();
  while (frames_in < expected) {
    struct pollfd ready = {link_fd, POLLIN, 0};
    poll(&ready, 1, -1);
    read_frames();
  }
  serve();
  while (!said && virtual_ns < until) {
    int64_t next = next_deadline_ns();
    virtual_ns = next < virtual_ns ? virtual_ns : next < until ? next : until;
    in_timers = true;
    sys_check_timeouts();
    in_timers = false;
    serve();
  }
  reply(call->id, "\"now_ns\":%lld,\"frames_out\":%lld", (long long)virtual_ns, frames_out);
  said = false;
}

/* Requests */

static const struct operation OPERATIONS[] = {
    {"hello", op_hello, "", NULL},
    {"listen", op_listen, "family:i address:s port:i backlog:i? options:a?", NULL},
    {"accept", op_accept, "socket:i timeout:n?", serve_accept},
    {"connect", op_connect,
     "family:i remote_address:s remote_port:i address:s? port:i? reuse:b? options:a?", NULL},
    {"connected", op_connected, "socket:i timeout:n?", serve_connected},
    {"send", op_send, "socket:i data:s urgent:b? wait:b?", serve_send},
    {"receive", op_receive, "socket:i count:i? maximum:i? timeout:n? urgent:b? peek:b?", serve_receive},
    {"shutdown", op_shutdown, "socket:i how:s", NULL},
    {"close", op_close, "socket:i", NULL},
    {"abort", op_abort, "socket:i", NULL},
    {"option_set", op_option_set, "socket:i level:s name:s value:v", NULL},
    {"option_get", op_option_get, "socket:i level:s name:s", NULL},
    {"error", op_error, "socket:i", NULL},
    {"state", op_state, "family:i address:s port:i remote_address:s? remote_port:i?", NULL},
    {"sockets", op_sockets, "", NULL},
    {"cancel", op_cancel, "request:i", NULL},
    {"clock", op_clock, "until_ns:i frames_in:i", NULL},
};

static bool is_of_kind(const struct json *value, char kind) {
  switch (kind) {
    case 'i': return value->kind == JSON_NUMBER && value->is_whole;
    case 'n': return value->kind == JSON_NULL || (value->kind == JSON_NUMBER && value->number >= 0);
    case 's': return value->kind == JSON_TEXT;
    case 'b': return value->kind == JSON_BOOL;
    case 'a': return value->kind == JSON_ARRAY;
    default: return true;
  }
}

/* Whether the arguments are those of the operation; refused where not. */
static bool fitting(const struct call *call) {
  const char *forms = call->operation->arguments;
  size_t known = 0, given = 0;
  for (const char *at = forms; *at != 0;) {
    char name[32];
    size_t length = strcspn(at, ":"), whole_form = strcspn(at, " ");
    memcpy(name, at, length);
    name[length] = 0;
    const struct json *value = argument(call, name);
    if (value != NULL) {
      known++;
      if (!is_of_kind(value, at[length + 1])) {
        refuse(call->id, "bad-request", "%s: a value of another kind is needed", name);
        return false;
      }
    } else if (at[whole_form - 1] != '?') {
      refuse(call->id, "bad-request", "%s: %s needs this argument", name, call->operation->name);
      return false;
    }
    at += whole_form;
    at += strspn(at, " ");
  }
  for (const struct json *one = call->arguments->first; one != NULL; one = one->next) {
    if (strcmp(one->key, "id") == 0 || strcmp(one->key, "op") == 0) continue;
    given++;
    size_t length = strlen(one->key);
    const char *at = forms;
    while (*at != 0 && (strncmp(at, one->key, length) != 0 || at[length] != ':')) {
      at += strcspn(at, " ");
      at += strspn(at, " ");
    }
    if (*at == 0) {
      refuse(call->id, "bad-request", "%.60s: %s takes no such argument", one->key, call->operation->name);
      return false;
    }
  }
  if (given != known) refuse(call->id, "bad-request", "an argument is given twice");
  return given == known;
}

static void dispatch(struct json *line) {
  if (line == NULL || line->kind != JSON_OBJECT) {
    refuse(-1, "bad-json", "a line is one JSON object");
    return;
  }
  const struct json *id = json_member(line, "id"), *op = json_member(line, "op"), *socket;
  if (id == NULL || !id->is_whole || id->whole < 0) {
    refuse(-1, "bad-request", "id: a whole number is needed");
    return;
  }
  struct call call = {id->whole, NULL, line, NULL};
  for (const struct request *one = requests; one != NULL; one = one->next)
    if (one->id == call.id && one->sock != NULL) {
      refuse(call.id, "bad-request", "id: another request with this id is pending");
      return;
    }
  if (op == NULL || op->kind != JSON_TEXT) {
    refuse(call.id, "bad-request", "op: a text is needed");
    return;
  }
  for (size_t i = 0; i < sizeof OPERATIONS / sizeof *OPERATIONS; i++)
    if (strcmp(OPERATIONS[i].name, op->text) == 0) call.operation = &OPERATIONS[i];
  if (call.operation == NULL) {
    refuse(call.id, "unknown-op", "no operation %.60s", op->text);
    return;
  }
  if (!fitting(&call)) return;
  if ((socket = argument(&call, "socket")) != NULL) {
    for (struct sock *one = sockets; one != NULL; one = one->next)
      if (one->number == socket->whole && one->number != 0) call.sock = one;
    if (call.sock == NULL) {
      refuse(call.id, "no-such-socket", "socket: %lld is none", socket->whole);
      return;
    }
  }
  call.operation->run(&call);
  serve();
}

static void read_requests(void) {
  static struct octets input;
  static bool skipping;
  char piece[65536];
  ssize_t length = read(0, piece, sizeof piece);
  if (length == 0) exit(0);
  if (length < 0) return;
  for (ssize_t from = 0; from < length;) {
    char *end_of_line = memchr(piece + from, '\n', (size_t)(length - from));
    size_t size = end_of_line ? (size_t)(end_of_line - piece - from) : (size_t)(length - from);
    if (!skipping) append(&input, piece + from, size);
    from += (ssize_t)size + (end_of_line != NULL);
    if (many(&input) > LONGEST_LINE) {
      refuse(-1, "bad-json", "a line is over %d octets", LONGEST_LINE);
      input.from = input.to = 0;
      skipping = true;
    }
    if (end_of_line == NULL) break;
    if (!skipping) {
      bool holds_zero = memchr(input.data + input.from, 0, many(&input)) != NULL;
      append(&input, "", 1);
      struct json *line = holds_zero ? NULL : json_read(input.data + input.from);
      dispatch(line);
      json_free(line);
    }
    skipping = false;
    input.from = input.to = 0;
  }
}

/* Start */

static const char *setting(const char *name) {
  const char *value = getenv(name);
  if (value == NULL) {
    fprintf(stderr, "lwip_agent: %s is not set: this program is started by tcp-conformance\n", name);
    exit(2);
  }
  return value;
}

static err_t on_init(struct netif *netif) {
  unsigned part[6];
  if (sscanf(setting("TCP_CONFORMANCE_MAC"), "%x:%x:%x:%x:%x:%x", &part[0], &part[1], &part[2], &part[3], &part[4],
             &part[5]) != 6)
    return ERR_ARG;
  for (int i = 0; i < 6; i++) netif->hwaddr[i] = (u8_t)part[i];
  netif->hwaddr_len = 6;
  netif->name[0] = 't';
  netif->name[1] = 'c';
  netif->mtu = (u16_t)atoi(setting("TCP_CONFORMANCE_MTU"));
  netif->output = etharp_output;
  netif->output_ip6 = ethip6_output;
  netif->linkoutput = on_output;
  netif->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET | NETIF_FLAG_LINK_UP |
                 NETIF_FLAG_IGMP | NETIF_FLAG_MLD6; /* to hear neighbour solicitations, and the groups of every host */
  return ERR_OK;
}

static void set_up(void) {
  char four[64], six[64];
  ip4_addr_t host, mask, none = {0};
  ip6_addr_t host6;
  snprintf(four, sizeof four, "%s", setting("TCP_CONFORMANCE_IPV4"));
  snprintf(six, sizeof six, "%s", setting("TCP_CONFORMANCE_IPV6"));
  int length = 24;
  char *slash = strchr(four, '/');
  if (slash != NULL) {
    *slash = 0;
    length = atoi(slash + 1);
  }
  if ((slash = strchr(six, '/')) != NULL) *slash = 0; /* lwIP's on-link prefixes are all of 64 bits */
  ip4addr_aton(four, &host);
  ip4_addr_set_u32(&mask, length > 0 ? htonl(0xFFFFFFFFu << (32 - length)) : 0);
  lwip_init();
  netif_add(&wire, &host, &mask, &none, NULL, on_init, ethernet_input);
  netif_set_default(&wire);
#if LWIP_IPV6_SEND_ROUTER_SOLICIT
  wire.rs_count = 0;
#endif
#if LWIP_IPV6_AUTOCONFIG
  wire.ip6_autoconfig_enabled = 0;
#endif
  netif_create_ip6_linklocal_address(&wire, 1);
  netif_ip6_addr_set_state(&wire, 0, IP6_ADDR_PREFERRED);
  ip6addr_aton(six, &host6);
  netif_ip6_addr_set(&wire, 1, &host6);
  netif_ip6_addr_set_state(&wire, 1, IP6_ADDR_PREFERRED);
  netif_set_up(&wire);
#if LWIP_IPV6_SEND_ROUTER_SOLICIT
  wire.rs_count = 0;
#endif
}

int main(void) {
  static char outbox[1 << 16];
  link_fd = atoi(setting("TCP_CONFORMANCE_LINK_FD"));
  is_virtual = strcmp(setting("TCP_CONFORMANCE_CLOCK"), "virtual") == 0;
  setvbuf(stdout, outbox, _IOFBF, sizeof outbox);
  fcntl(link_fd, F_SETFL, fcntl(link_fd, F_GETFL) | O_NONBLOCK);
  srand(is_virtual ? 1 : (unsigned)clock_ns(CLOCK_REALTIME) ^ (unsigned)getpid());
  set_up();
  printf("{\"hello\":{");
  say_hello();
  printf("}}\n");
  said = false;
  for (;;) {
    fflush(stdout);
    int wait_ms = -1;
    if (!is_virtual) {
      int64_t left = next_deadline_ns();
      if (left != NEVER) {
        left = (left - now_ns() + MS - 1) / MS;
        wait_ms = left < 0 ? 0 : left > 1000 ? 1000 : (int)left;
      }
    }
    struct pollfd ready[2] = {{link_fd, POLLIN, 0}, {0, POLLIN, 0}};
    if (poll(ready, 2, wait_ms) < 0 && errno != EINTR) return 1;
    if (ready[0].revents) read_frames();
    if (ready[1].revents) read_requests();
    if (!is_virtual) {
      in_timers = true;
      sys_check_timeouts();
      in_timers = false;
      serve();
    }
  }
}
