/* lwIP as a target: its raw API behind the kit (../kit/kit.h).
 *
 * Its clock is the kit's: sys_now() is defined here and takes the place of the library's. A pcb belongs to a socket as
 * long as it is on one of lwIP's lists and has that socket as its argument: lwIP frees pcbs by itself, after TIME-WAIT
 * without a call to anybody.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kit.h"
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

static const struct kit_wire *wire;
static struct netif interface;
static bool in_timers;

u32_t sys_now(void) { return (u32_t)(kit_now_ns() / MS); }

/* lwIP gives frames to itself (netif_loop_output) to its own thread, which there is none of. */

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

/* Errors and addresses */

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

static const char *result(err_t error, const char *call) {
  return error == ERR_OK ? NULL : kit_error(code_of(error), "%s: lwIP's error %d", call, error);
}

static ip_addr_t address_of(int family, const char *text) {
  ip_addr_t address = family == 6 ? *IP6_ADDR_ANY : *IP4_ADDR_ANY;
  if (*text != 0) ipaddr_aton(text, &address);
  return address;
}

static void fill_local(struct kit_socket *socket, const ip_addr_t *address, u16_t port) {
  snprintf(socket->address, sizeof socket->address, "%s", ipaddr_ntoa(address));
  socket->port = port;
}

/* Sockets and their pcbs */

static bool is_on(const struct tcp_pcb *list, const struct tcp_pcb *pcb) {
  while (list != NULL && list != pcb) list = list->next;
  return list != NULL;
}

/* Return the socket's pcb, or NULL where lwIP has it no longer. */
static struct tcp_pcb *pcb_of(struct kit_socket *socket) {
  struct tcp_pcb *pcb = socket->handle;
  bool listed = socket->listens || is_on(tcp_active_pcbs, pcb) || is_on(tcp_tw_pcbs, pcb) || is_on(tcp_bound_pcbs, pcb);
  if (pcb == NULL || !listed || pcb->callback_arg != socket) socket->handle = NULL;
  return socket->handle;
}

static bool forgotten(struct kit_socket *socket) { return pcb_of(socket) == NULL; }

/* Take the pcb away from its socket: lwIP goes on with it alone. */
static struct tcp_pcb *take_pcb(struct kit_socket *socket) {
  struct tcp_pcb *pcb = pcb_of(socket);
  socket->handle = NULL;
  if (pcb == NULL) return NULL;
  tcp_arg(pcb, NULL);
  if (pcb->state == LISTEN) return pcb; /* a tcp_pcb_listen is shorter */
  tcp_recv(pcb, NULL);
  tcp_err(pcb, NULL);
  return pcb;
}

static void close_socket(struct kit_socket *socket) {
  struct tcp_pcb *pcb = take_pcb(socket);
  if (pcb != NULL) tcp_close(pcb);
}

static void abort_socket(struct kit_socket *socket) {
  struct tcp_pcb *pcb = take_pcb(socket);
  if (pcb != NULL) tcp_abort(pcb);
}

/* lwIP's callbacks */

static err_t on_receive(void *argument, struct tcp_pcb *pcb, struct pbuf *data, err_t error) {
  (void)pcb;
  (void)error;
  if (data == NULL) {
    kit_ended(argument);
    return ERR_OK;
  }
  for (struct pbuf *part = data; part != NULL; part = part->next) kit_arrived(argument, part->payload, part->len);
  pbuf_free(data);
  return ERR_OK;
}

/* The pcb is gone, or about to go. */
static void on_error(void *argument, err_t error) {
  struct kit_socket *socket = argument;
  if (socket == NULL) return;
  socket->handle = NULL;
  if (error == ERR_CLSD)
    kit_ended(socket); /* both ends have closed */
  else if (error == ERR_RST)
    kit_failed(socket, socket->connected ? "ECONNRESET" : "ECONNREFUSED");
  else if (error == ERR_ABRT && in_timers)
    kit_failed(socket, "ETIMEDOUT");
  else
    kit_failed(socket, code_of(error));
}

static void adopt(struct kit_socket *socket, struct tcp_pcb *pcb) {
  tcp_arg(pcb, socket);
  tcp_recv(pcb, on_receive);
  tcp_err(pcb, on_error);
}

static err_t on_accept(void *argument, struct tcp_pcb *pcb, err_t error) {
  if (pcb == NULL || error != ERR_OK || argument == NULL) return ERR_VAL;
  adopt(kit_accepted(argument, pcb, ipaddr_ntoa(&pcb->remote_ip), pcb->remote_port), pcb);
  return ERR_OK;
}

static err_t on_connected(void *argument, struct tcp_pcb *pcb, err_t error) {
  (void)pcb;
  if (argument != NULL && error == ERR_OK) kit_connected(argument);
  return ERR_OK;
}

/* Options */

enum option { KEEPALIVE, REUSE, TTL, TOS, NODELAY, KEEPIDLE, KEEPINTVL, KEEPCNT, MAXSEG };

static const struct {
  const char *level, *name;
  enum option option;
} OPTIONS[] = {
    {"socket", "SO_KEEPALIVE", KEEPALIVE}, {"socket", "SO_REUSEADDR", REUSE}, {"tcp", "TCP_NODELAY", NODELAY},
    {"tcp", "TCP_KEEPIDLE", KEEPIDLE},     {"tcp", "TCP_KEEPINTVL", KEEPINTVL}, {"tcp", "TCP_KEEPCNT", KEEPCNT},
    {"tcp", "TCP_MAXSEG", MAXSEG},         {"ip", "IP_TTL", TTL},             {"ipv6", "IPV6_UNICAST_HOPS", TTL},
    {"ip", "IP_TOS", TOS},                 {"ipv6", "IPV6_TCLASS", TOS},
};

/* Find the option and the socket's pcb. */
static const char *find_option(struct kit_socket *socket, const char *level, const char *name, enum option *option,
                               struct tcp_pcb **pcb) {
  const char *code = "ENOPROTOOPT";
  for (size_t i = 0; i < sizeof OPTIONS / sizeof *OPTIONS && code != NULL; i++)
    if (strcmp(OPTIONS[i].level, level) == 0 && strcmp(OPTIONS[i].name, name) == 0) {
      *option = OPTIONS[i].option;
      code = NULL;
    }
  *pcb = pcb_of(socket);
  if (code == NULL && *pcb == NULL) code = kit_error("ENOTCONN", "lwIP has forgotten the connection");
  if (code == NULL && (*pcb)->state == LISTEN && *option > TOS)
    code = kit_error("EINVAL", "a listener has no %.40s", name);
  return code;
}

static const char *set_option(struct kit_socket *socket, const char *level, const char *name, long long value) {
  enum option option;
  struct tcp_pcb *pcb;
  const char *code = find_option(socket, level, name, &option, &pcb);
  if (code != NULL) return code;
  u8_t flag = option == REUSE ? SOF_REUSEADDR : SOF_KEEPALIVE;
  switch (option) {
    case KEEPALIVE:
    case REUSE:
      if (value)
        ip_set_option(pcb, flag);
      else
        ip_reset_option(pcb, flag);
      return NULL;
    case TTL:
    case TOS:
      if (value < 0 || value > 255) return "EINVAL";
      *(option == TTL ? &pcb->ttl : &pcb->tos) = (u8_t)value;
      return NULL;
    case NODELAY:
      if (value)
        tcp_nagle_disable(pcb);
      else
        tcp_nagle_enable(pcb);
      return NULL;
    case KEEPIDLE:
    case KEEPINTVL:
      if (value < 1 || value > 4000000) return "EINVAL";
      *(option == KEEPIDLE ? &pcb->keep_idle : &pcb->keep_intvl) = (u32_t)value * 1000;
      return NULL;
    case KEEPCNT:
      if (value < 1 || value > 1000) return "EINVAL";
      pcb->keep_cnt = (u32_t)value;
      return NULL;
    default: return "EINVAL"; /* TCP_MAXSEG is lwIP's own */
  }
}

static const char *get_option(struct kit_socket *socket, const char *level, const char *name, long long *value) {
  enum option option;
  struct tcp_pcb *pcb;
  const char *code = find_option(socket, level, name, &option, &pcb);
  if (code != NULL) return code;
  switch (option) {
    case KEEPALIVE: *value = ip_get_option(pcb, SOF_KEEPALIVE) != 0; break;
    case REUSE: *value = ip_get_option(pcb, SOF_REUSEADDR) != 0; break;
    case TTL: *value = pcb->ttl; break;
    case TOS: *value = pcb->tos; break;
    case NODELAY: *value = tcp_nagle_disabled(pcb) != 0; break;
    case KEEPIDLE: *value = pcb->keep_idle / 1000; break;
    case KEEPINTVL: *value = pcb->keep_intvl / 1000; break;
    case KEEPCNT: *value = pcb->keep_cnt; break;
    case MAXSEG: *value = pcb->mss; break;
  }
  return NULL;
}

/* Calls */

/* lwIP's tcp_bind takes any address. */
static bool is_ours(const ip_addr_t *address) {
  if (ip_addr_isany(address) || ip_addr_isloopback(address)) return true;
  if (IP_IS_V6(address)) return netif_get_ip6_addr_match(&interface, ip_2_ip6(address)) >= 0;
  return ip4_addr_cmp(ip_2_ip4(address), netif_ip4_addr(&interface));
}

static const char *open_socket(struct kit_socket *socket, const char *address, unsigned port, bool reuse) {
  ip_addr_t local = address_of(socket->family, address);
  if (!is_ours(&local)) return kit_error("EADDRNOTAVAIL", "%s is no address of this host", address);
  struct tcp_pcb *pcb = tcp_new_ip_type(socket->family == 6 ? IPADDR_TYPE_V6 : IPADDR_TYPE_V4);
  if (pcb == NULL) return kit_error("ENOMEM", "lwIP has no pcb left");
  if (reuse) ip_set_option(pcb, SOF_REUSEADDR);
  err_t error = tcp_bind(pcb, &local, (u16_t)port);
  if (error != ERR_OK) {
    tcp_close(pcb);
    return result(error, "tcp_bind");
  }
  tcp_arg(pcb, socket);
  socket->handle = pcb;
  return NULL;
}

static const char *listen_at(struct kit_socket *socket, int backlog) {
  err_t error;
  u8_t most = (u8_t)LWIP_MIN(LWIP_MAX(backlog, 1), 255);
  struct tcp_pcb *pcb = tcp_listen_with_backlog_and_err(socket->handle, most, &error);
  if (pcb == NULL) return result(error, "tcp_listen");
  socket->handle = pcb; /* the bound one is gone */
  tcp_arg(pcb, socket);
  tcp_accept(pcb, on_accept);
  fill_local(socket, &pcb->local_ip, pcb->local_port);
  return NULL;
}

static const char *connect_to(struct kit_socket *socket, const char *address, unsigned port) {
  struct tcp_pcb *pcb = socket->handle;
  ip_addr_t remote = address_of(socket->family, address);
  adopt(socket, pcb);
  err_t error = tcp_connect(pcb, &remote, (u16_t)port, on_connected);
  fill_local(socket, &pcb->local_ip, pcb->local_port);
  return result(error, "tcp_connect");
}

static const char *send_some(struct kit_socket *socket, const void *data, size_t length, size_t *taken) {
  struct tcp_pcb *pcb = pcb_of(socket);
  size_t piece = LWIP_MIN(length, LWIP_MIN(tcp_sndbuf(pcb), 0xFFFF));
  if (piece == 0) return NULL;
  err_t error = tcp_write(pcb, data, (u16_t)piece, TCP_WRITE_FLAG_COPY | (piece < length ? TCP_WRITE_FLAG_MORE : 0));
  if (error == ERR_MEM) return NULL;
  if (error == ERR_CONN) return socket->connected ? "EPIPE" : "ENOTCONN";
  if (error != ERR_OK) return result(error, "tcp_write");
  *taken = piece;
  tcp_output(pcb);
  return NULL;
}

static void received(struct kit_socket *socket, size_t length) {
  struct tcp_pcb *pcb;
  while (length > 0 && (pcb = pcb_of(socket)) != NULL && pcb->state != TIME_WAIT) {
    u16_t piece = (u16_t)LWIP_MIN(length, 0xFFFF);
    tcp_recved(pcb, piece);
    length -= piece;
  }
}

static const char *shut_down(struct kit_socket *socket, bool sending, bool receiving) {
  return result(tcp_shutdown(pcb_of(socket), receiving, sending), "tcp_shutdown");
}

static const char *state_of(int family, const char *address, unsigned port, const char *remote_address,
                            unsigned remote_port) {
  static const char *const STATES[] = {"CLOSED",      "LISTEN",     "SYN-SENT",   "SYN-RECEIVED", "ESTABLISHED",
                                       "FIN-WAIT-1",  "FIN-WAIT-2", "CLOSE-WAIT", "CLOSING",      "LAST-ACK",
                                       "TIME-WAIT"}; /* by lwIP's enum tcp_state */
  ip_addr_t local = address_of(family, address), remote = address_of(family, remote_address);
  struct tcp_pcb *lists[] = {tcp_active_pcbs, tcp_tw_pcbs};
  for (int i = 0; i < 2 && remote_port != 0; i++)
    for (struct tcp_pcb *pcb = lists[i]; pcb != NULL; pcb = pcb->next)
      if (pcb->local_port == port && pcb->remote_port == remote_port && ip_addr_cmp(&pcb->remote_ip, &remote) &&
          (ip_addr_isany(&local) || ip_addr_cmp(&pcb->local_ip, &local)))
        return STATES[pcb->state];
  for (struct tcp_pcb_listen *pcb = tcp_listen_pcbs.listen_pcbs; pcb != NULL; pcb = pcb->next)
    if (pcb->local_port == port && IP_IS_V6(&pcb->local_ip) == (family == 6) &&
        (ip_addr_isany(&pcb->local_ip) || ip_addr_isany(&local) || ip_addr_cmp(&pcb->local_ip, &local)))
      return "LISTEN";
  return "CLOSED";
}

/* The wire and the clock */

static err_t on_output(struct netif *netif, struct pbuf *data) {
  static char frame[0xFFFF];
  (void)netif;
  kit_send_frame(frame, pbuf_copy_partial(data, frame, sizeof frame, 0));
  return ERR_OK;
}

static void on_frame(const void *frame, size_t length) {
  /* Not from the pool: Debian's library takes its elements for longer than they are. */
  struct pbuf *data = pbuf_alloc(PBUF_RAW, (u16_t)length, PBUF_RAM);
  if (data == NULL) return;
  pbuf_take(data, frame, (u16_t)length);
  if (interface.input(data, &interface) != ERR_OK) pbuf_free(data);
}

static int64_t next_timer_ns(void) {
  u32_t sleep_ms = sys_timeouts_sleeptime();
  return sleep_ms == SYS_TIMEOUTS_SLEEPTIME_INFINITE ? KIT_NEVER : (kit_now_ns() / MS + sleep_ms) * MS;
}

static void run_timers(void) {
  in_timers = true;
  sys_check_timeouts();
  in_timers = false;
}

/* Start */

static err_t on_init(struct netif *netif) {
  memcpy(netif->hwaddr, wire->mac, sizeof wire->mac);
  netif->hwaddr_len = sizeof wire->mac;
  netif->name[0] = 't';
  netif->name[1] = 'c';
  netif->mtu = (u16_t)wire->mtu;
  netif->output = etharp_output;
  netif->output_ip6 = ethip6_output;
  netif->linkoutput = on_output;
  netif->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET | NETIF_FLAG_LINK_UP |
                 NETIF_FLAG_IGMP | NETIF_FLAG_MLD6; /* to hear neighbour solicitations, and the groups of every host */
  return ERR_OK;
}

static void set_up(void) {
  ip4_addr_t host, mask, none = {0};
  ip6_addr_t host6;
  ip4addr_aton(wire->ipv4, &host);
  ip4_addr_set_u32(&mask, wire->ipv4_prefix > 0 ? htonl(0xFFFFFFFFu << (32 - wire->ipv4_prefix)) : 0);
  ip6addr_aton(wire->ipv6, &host6); /* lwIP's on-link prefixes are all of 64 bits */
  lwip_init();
  netif_add(&interface, &host, &mask, &none, NULL, on_init, ethernet_input);
  netif_set_default(&interface);
#if LWIP_IPV6_SEND_ROUTER_SOLICIT
  interface.rs_count = 0;
#endif
#if LWIP_IPV6_AUTOCONFIG
  interface.ip6_autoconfig_enabled = 0;
#endif
  netif_create_ip6_linklocal_address(&interface, 1);
  netif_ip6_addr_set_state(&interface, 0, IP6_ADDR_PREFERRED);
  netif_ip6_addr_set(&interface, 1, &host6);
  netif_ip6_addr_set_state(&interface, 1, IP6_ADDR_PREFERRED);
  netif_set_up(&interface);
#if LWIP_IPV6_SEND_ROUTER_SOLICIT
  interface.rs_count = 0;
#endif
}

int main(void) {
  static const struct kit_stack LWIP = {
      .name = "lwip",
      .version = LWIP_VERSION_STRING,
      /* The harness probes what the stack agrees to in a handshake. TCP_MAXSEG can be read only. */
      .capabilities = "ipv4 ipv6 half-close keepalive options:SO_KEEPALIVE options:SO_REUSEADDR options:TCP_NODELAY "
                      "options:TCP_KEEPIDLE options:TCP_KEEPINTVL options:TCP_KEEPCNT options:IP_TTL "
                      "options:IPV6_UNICAST_HOPS options:IP_TOS options:IPV6_TCLASS",
      .open = open_socket,
      .listen = listen_at,
      .connect = connect_to,
      .send = send_some,
      .received = received,
      .shutdown = shut_down,
      .close = close_socket,
      .abort = abort_socket,
      .forgotten = forgotten,
      .state = state_of,
      .set_option = set_option,
      .get_option = get_option,
      .frame = on_frame,
      .settle = do_later,
      .next_timer_ns = next_timer_ns,
      .run_timers = run_timers,
  };
  wire = kit_start();
  srand(wire->is_virtual ? 1 : (unsigned)time(NULL) ^ (unsigned)getpid()); /* of lwIP's port numbers */
  set_up();
  kit_run(&LWIP);
}
