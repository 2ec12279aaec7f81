/* The smallest useful agent: lwIP's TCP over IPv4 behind the kit. Put your stack's calls in place of lwIP's.
 *
 * SPDX-License-Identifier: MIT-0
 */
#include <stdio.h>
#include <string.h>

#include "kit.h"
#include "lwip/etharp.h"
#include "lwip/init.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/tcpip.h"
#include "lwip/timeouts.h"
#include "netif/ethernet.h"

static const struct kit_wire *wire;
static struct netif interface;

/* 1. The clock: the stack reads the kit's and no other. */

u32_t sys_now(void) { return (u32_t)(kit_now_ns() / 1000000); }

static int64_t next_timer_ns(void) {
  u32_t sleep_ms = sys_timeouts_sleeptime();
  return sleep_ms == SYS_TIMEOUTS_SLEEPTIME_INFINITE ? KIT_NEVER : (kit_now_ns() / 1000000 + sleep_ms) * 1000000;
}

/* 2. The wire: frames go in and out whole. lwIP would give those to itself to a thread of its own: there is none. */

static void on_frame(const void *frame, size_t length) {
  struct pbuf *data = pbuf_alloc(PBUF_RAW, (u16_t)length, PBUF_RAM);
  if (data == NULL) return;
  pbuf_take(data, frame, (u16_t)length);
  if (interface.input(data, &interface) != ERR_OK) pbuf_free(data);
}

static err_t send_frame(struct netif *netif, struct pbuf *data) {
  static char frame[0xFFFF];
  kit_send_frame(frame, pbuf_copy_partial(data, frame, sizeof frame, 0));
  return ERR_OK;
}

err_t tcpip_try_callback(tcpip_callback_fn function, void *context) {
  return ERR_MEM;
}

/* 3. What happens to a connection: the stack tells the kit. */

static const char *result(err_t error, const char *call) {
  const char *code = error == ERR_USE ? "EADDRINUSE" : error == ERR_RTE ? "EHOSTUNREACH" : "ENOTCONN";
  return error == ERR_OK ? NULL : kit_error(code, "%s: lwIP's error %d", call, error);
}

static err_t on_data(void *argument, struct tcp_pcb *pcb, struct pbuf *data, err_t error) {
  for (struct pbuf *part = data; part != NULL; part = part->next) kit_arrived(argument, part->payload, part->len);
  if (data != NULL)
    pbuf_free(data);
  else
    kit_ended(argument);
  return ERR_OK;
}

static void on_end(void *argument, err_t error) {
  struct kit_socket *socket = argument;
  socket->handle = NULL; /* lwIP frees it */
  if (error == ERR_CLSD)
    kit_ended(socket);
  else
    kit_failed(socket, error != ERR_RST ? "ETIMEDOUT" : socket->connected ? "ECONNRESET" : "ECONNREFUSED");
}

static void watch(struct tcp_pcb *pcb, struct kit_socket *socket) {
  tcp_arg(pcb, socket);
  if (pcb->state == LISTEN) return;
  tcp_recv(pcb, socket ? on_data : NULL);
  tcp_err(pcb, socket ? on_end : NULL);
}

static err_t on_accept(void *argument, struct tcp_pcb *pcb, err_t error) {
  if (argument == NULL || error != ERR_OK) return ERR_VAL;
  watch(pcb, kit_accepted(argument, pcb, ipaddr_ntoa(&pcb->remote_ip), pcb->remote_port));
  return ERR_OK;
}

static err_t on_connected(void *argument, struct tcp_pcb *pcb, err_t error) {
  if (argument != NULL && error == ERR_OK) kit_connected(argument);
  return ERR_OK;
}

/* 4. Calls of the application. lwIP frees a connection in TIME-WAIT and tells nobody: look whether it is still there. */

static bool forgotten(struct kit_socket *socket) {
  struct tcp_pcb *lists[] = {tcp_bound_pcbs, tcp_active_pcbs, tcp_tw_pcbs};
  for (int i = 0; i < 3; i++)
    for (struct tcp_pcb *pcb = lists[i]; pcb != NULL; pcb = pcb->next)
      if (pcb == socket->handle && pcb->callback_arg == socket) return false;
  return !socket->listens;
}

static void close_socket(struct kit_socket *socket) {
  if (forgotten(socket)) return;
  watch(socket->handle, NULL);
  tcp_close(socket->handle);
}

static void abort_socket(struct kit_socket *socket) {
  if (forgotten(socket)) return;
  watch(socket->handle, NULL);
  tcp_abort(socket->handle);
}

static void set_local(struct kit_socket *socket, const struct tcp_pcb *pcb) {
  snprintf(socket->address, sizeof socket->address, "%s", ipaddr_ntoa(&pcb->local_ip));
  socket->port = pcb->local_port;
}

static const char *open_socket(struct kit_socket *socket, const char *address, unsigned port, bool reuse) {
  ip_addr_t local = *IP4_ADDR_ANY;
  if (*address != 0 && strcmp(address, wire->ipv4) != 0) return "EADDRNOTAVAIL";
  if (*address != 0) ipaddr_aton(address, &local);
  struct tcp_pcb *pcb = tcp_new_ip_type(IPADDR_TYPE_V4);
  if (pcb == NULL) return "ENOMEM";
  if (reuse) ip_set_option(pcb, SOF_REUSEADDR);
  err_t error = tcp_bind(pcb, &local, (u16_t)port);
  watch(pcb, socket);
  socket->handle = pcb;
  if (error != ERR_OK) close_socket(socket);
  return result(error, "tcp_bind");
}

static const char *listen_at(struct kit_socket *socket, int backlog) {
  struct tcp_pcb *pcb = tcp_listen_with_backlog(socket->handle, (u8_t)LWIP_MIN(backlog, 255));
  if (pcb == NULL) return "ENOMEM";
  socket->handle = pcb;
  tcp_accept(pcb, on_accept);
  set_local(socket, pcb);
  return NULL;
}

static const char *connect_to(struct kit_socket *socket, const char *address, unsigned port) {
  ip_addr_t remote;
  ipaddr_aton(address, &remote);
  err_t error = tcp_connect(socket->handle, &remote, (u16_t)port, on_connected);
  set_local(socket, socket->handle);
  return result(error, "tcp_connect");
}

static const char *send_some(struct kit_socket *socket, const void *data, size_t length, size_t *taken) {
  struct tcp_pcb *pcb = socket->handle;
  size_t piece = LWIP_MIN(length, LWIP_MIN(tcp_sndbuf(pcb), 0xFFFF));
  err_t error = piece > 0 ? tcp_write(pcb, data, (u16_t)piece, TCP_WRITE_FLAG_COPY) : ERR_MEM;
  if (error == ERR_OK) *taken = piece;
  tcp_output(pcb);
  return error == ERR_MEM ? NULL : result(error, "tcp_write"); /* ERR_MEM: no room now */
}

static void received(struct kit_socket *socket, size_t length) {
  for (size_t piece; length > 0; length -= piece) tcp_recved(socket->handle, (u16_t)(piece = LWIP_MIN(length, 0xFFFF)));
}

static const char *shut_down(struct kit_socket *socket, bool sending, bool receiving) {
  return result(tcp_shutdown(socket->handle, receiving, sending), "tcp_shutdown");
}

/* 5. Start: the interface as the kit says, the stack as below. */

static err_t on_init(struct netif *netif) {
  memcpy(netif->hwaddr, wire->mac, sizeof wire->mac);
  netif->hwaddr_len = sizeof wire->mac;
  netif->mtu = (u16_t)wire->mtu;
  netif->output = etharp_output;
  netif->linkoutput = send_frame;
  netif->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET | NETIF_FLAG_LINK_UP;
  return ERR_OK;
}

int main(void) {
  static const struct kit_stack STACK = {
      .name = "lwip-smallest", .version = LWIP_VERSION_STRING, .capabilities = "ipv4 half-close",
      .open = open_socket, .listen = listen_at, .connect = connect_to, .close = close_socket, .abort = abort_socket,
      .send = send_some, .received = received, .shutdown = shut_down, .forgotten = forgotten,
      .frame = on_frame, .next_timer_ns = next_timer_ns, .run_timers = sys_check_timeouts,
  };
  ip4_addr_t host, mask, none = {0};
  wire = kit_start();
  ip4addr_aton(wire->ipv4, &host);
  ip4_addr_set_u32(&mask, lwip_htonl(0xFFFFFFFFu << (32 - wire->ipv4_prefix)));
  lwip_init();
  netif_add(&interface, &host, &mask, &none, NULL, on_init, ethernet_input);
  netif_set_default(&interface);
  netif_set_up(&interface);
  kit_run(&STACK);
}
