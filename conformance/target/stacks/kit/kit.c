/* See kit.h. From the ground up: time, octets, JSON, replies, sockets, calls, the wire, requests, the loop.
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
 */
#define _GNU_SOURCE
#include "kit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MS 1000000LL
#define LONGEST_LINE (16 << 20)
#define LONGEST_FRAME 65536
#define MOST_OCTETS (LONGEST_LINE / 2) /* of one call */
#define START_NS (1000000LL * MS)      /* of the virtual clock */
#define MOST_OPTIONS 32
#define DEEPEST 16 /* JSON within JSON */

static const struct kit_stack *stack;
static struct kit_wire wire;
static int link_fd = -1;
static long long frames_in, frames_out;

/* Time */

static int64_t virtual_ns = START_NS;
static bool acted; /* a frame or a reply has left since the last `clock` */

static int64_t machine_ns(clockid_t which) {
  struct timespec now;
  clock_gettime(which, &now);
  return now.tv_sec * 1000 * MS + now.tv_nsec;
}

int64_t kit_now_ns(void) { return wire.is_virtual ? virtual_ns : machine_ns(CLOCK_MONOTONIC); }

/* Octets */

struct octets {
  char *data;
  size_t from, to, room; /* those from `from` to `to` are there */
};

static void *checked(void *memory) {
  if (memory == NULL) abort();
  return memory;
}

static size_t length_of(const struct octets *octets) { return octets->to - octets->from; }

static void append(struct octets *octets, const void *data, size_t length) {
  if (octets->from == octets->to) octets->from = octets->to = 0;
  if (octets->data == NULL || octets->room - octets->to < length) {
    octets->room = (octets->to + length) * 2 + 64;
    octets->data = checked(realloc(octets->data, octets->room));
  }
  if (length > 0) memcpy(octets->data + octets->to, data, length);
  octets->to += length;
}

static const char BASE64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void print_base64(const char *data, size_t length) {
  for (size_t i = 0; i < length; i += 3) {
    uint32_t bits = (uint32_t)(uint8_t)data[i] << 16;
    if (i + 1 < length) bits |= (uint32_t)(uint8_t)data[i + 1] << 8;
    if (i + 2 < length) bits |= (uint8_t)data[i + 2];
    putchar(BASE64[bits >> 18]);
    putchar(BASE64[bits >> 12 & 63]);
    putchar(i + 1 < length ? BASE64[bits >> 6 & 63] : '=');
    putchar(i + 2 < length ? BASE64[bits & 63] : '=');
  }
}

static bool read_base64(const char *text, size_t length, struct octets *into) {
  if (length % 4 != 0) return false;
  for (size_t i = 0; i < length; i += 4) {
    uint32_t bits = 0;
    int pads = 0;
    for (int k = 0; k < 4; k++) {
      char c = text[i + k];
      const char *digit = c ? strchr(BASE64, c) : NULL;
      bool pad = c == '=' && k > 1 && i + 4 == length;
      if ((digit == NULL && !pad) || (pads && !pad)) return false;
      pads += pad;
      bits = bits << 6 | (pad ? 0 : (uint32_t)(digit - BASE64));
    }
    char three[3] = {(char)(bits >> 16), (char)(bits >> 8), (char)bits};
    append(into, three, 3 - (size_t)pads);
  }
  return true;
}

/* JSON: a reader of one line. Texts are unescaped in place; the values are freed together. */

enum kind { NOTHING, TRUTH, NUMBER, TEXT, ARRAY, OBJECT };

struct json {
  enum kind kind;
  const char *key;    /* of a member of an object */
  const char *text;   /* ends with a zero; `length` counts zeros within */
  size_t length;
  double number;
  long long whole;    /* exact where is_whole */
  bool is_whole, truth;
  struct json *first; /* of an array or object */
  struct json *next;  /* its neighbour there */
  struct json *made_before;
};

struct reader {
  char *at;
  struct json *last_made;
};

static void skip_space(struct reader *in) { in->at += strspn(in->at, " \t\r\n"); }

static int hex4(const char *at) {
  int value = 0;
  for (int i = 0; i < 4; i++) {
    int c = at[i] | 0x20;
    int digit = at[i] >= '0' && at[i] <= '9' ? at[i] - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

static char *put_utf8(char *out, unsigned code) {
  if (code < 0x80) {
    *out++ = (char)code;
    return out;
  }
  int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
  *out++ = (char)((0xF00 >> (more + 1) & 0xFF) | code >> 6 * more);
  while (more-- > 0) *out++ = (char)(0x80 | (code >> 6 * more & 0x3F));
  return out;
}

/* Read the text behind a quotation mark. An escape is never shorter than what it stands for. */
static bool read_text(struct reader *in, const char **text, size_t *length) {
  static const char ESCAPES[] = "\"\\/bfnrt", MEANT[] = "\"\\/\b\f\n\r\t";
  char *out = in->at;
  *text = out;
  while (*in->at != '"') {
    unsigned char c = (unsigned char)*in->at++;
    if (c < 0x20) return false;
    if (c != '\\') {
      *out++ = (char)c;
      continue;
    }
    c = (unsigned char)*in->at++;
    if (c == 'u') {
      int code = hex4(in->at);
      if (code < 0) return false;
      in->at += 4;
      if (code >= 0xD800 && code < 0xDC00 && in->at[0] == '\\' && in->at[1] == 'u') {
        int low = hex4(in->at + 2);
        if (low < 0xDC00 || low > 0xDFFF) return false;
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        in->at += 6;
      }
      out = put_utf8(out, (unsigned)code);
      continue;
    }
    const char *escape = c ? strchr(ESCAPES, c) : NULL;
    if (escape == NULL) return false;
    *out++ = MEANT[escape - ESCAPES];
  }
  in->at++;
  *length = (size_t)(out - *text);
  *out = 0;
  return true;
}

static struct json *read_value(struct reader *in, int depth);

static bool read_members(struct reader *in, struct json *into, char end, int depth) {
  struct json **place = &into->first;
  in->at++;
  skip_space(in);
  if (*in->at == end) return in->at++, true;
  for (;;) {
    const char *key = NULL;
    size_t length;
    skip_space(in);
    if (end == '}') {
      if (*in->at++ != '"' || !read_text(in, &key, &length)) return false;
      skip_space(in);
      if (*in->at++ != ':') return false;
    }
    struct json *member = read_value(in, depth + 1);
    if (member == NULL) return false;
    member->key = key;
    *place = member;
    place = &member->next;
    skip_space(in);
    if (*in->at == end) return in->at++, true;
    if (*in->at++ != ',') return false;
  }
}

static bool read_number(struct reader *in, struct json *value) {
  char *end;
  const char *digits = in->at + (*in->at == '-');
  size_t size = strspn(in->at, "+-0123456789.eE"), whole = strspn(digits, "0123456789");
  if (whole == 0) return false;
  value->number = strtod(in->at, &end);
  if ((size_t)(end - in->at) != size) return false;
  errno = 0;
  value->whole = strtoll(in->at, NULL, 10);
  value->is_whole = digits + whole == end && errno == 0;
  in->at = end;
  return true;
}

static bool read_word(struct reader *in, const char *word) {
  size_t length = strlen(word);
  if (strncmp(in->at, word, length) != 0) return false;
  in->at += length;
  return true;
}

static struct json *read_value(struct reader *in, int depth) {
  struct json *value = checked(calloc(1, sizeof *value));
  bool good;
  value->made_before = in->last_made;
  in->last_made = value;
  skip_space(in);
  if (depth > DEEPEST) return NULL;
  switch (*in->at) {
    case '{':
      value->kind = OBJECT;
      good = read_members(in, value, '}', depth);
      break;
    case '[':
      value->kind = ARRAY;
      good = read_members(in, value, ']', depth);
      break;
    case '"':
      value->kind = TEXT;
      in->at++;
      good = read_text(in, &value->text, &value->length);
      break;
    case 't':
    case 'f':
      value->kind = TRUTH;
      value->truth = *in->at == 't';
      good = read_word(in, value->truth ? "true" : "false");
      break;
    case 'n':
      value->kind = NOTHING;
      good = read_word(in, "null");
      break;
    default:
      value->kind = NUMBER;
      good = read_number(in, value);
  }
  return good ? value : NULL;
}

static const struct json *member_of(const struct json *object, const char *key) {
  for (const struct json *member = object->first; member != NULL; member = member->next)
    if (strcmp(member->key, key) == 0) return member;
  return NULL;
}

/* Replies */

static char message[200]; /* of the next refusal */

static void end_reply(void) {
  printf(",\"at_ns\":%lld}\n", (long long)(wire.is_virtual ? virtual_ns : machine_ns(CLOCK_REALTIME)));
  message[0] = 0;
  acted = true;
}

/* Answer with these members of `ok`. */
static void reply(long long id, const char *form, ...) {
  va_list arguments;
  printf("{\"id\":%lld,\"ok\":{", id);
  va_start(arguments, form);
  vprintf(form, arguments);
  va_end(arguments);
  putchar('}');
  end_reply();
}

const char *kit_error(const char *code, const char *form, ...) {
  va_list arguments;
  va_start(arguments, form);
  vsnprintf(message, sizeof message, form, arguments);
  va_end(arguments);
  return code;
}

/* Refuse with this code and the message of the last kit_error, if any. An id below 0 is null. */
static void refuse(long long id, const char *code) {
  for (char *at = message; *at != 0; at++)
    if ((unsigned char)*at < 0x20 || (unsigned char)*at > 0x7E || *at == '"' || *at == '\\') *at = '?';
  if (id < 0)
    printf("{\"id\":null,");
  else
    printf("{\"id\":%lld,", id);
  printf("\"error\":{\"code\":\"%s\",\"message\":\"%s\"}", code, message[0] ? message : code);
  end_reply();
}

/* Answer with nothing where `code` is NULL, else refuse. */
static void conclude(long long id, const char *code) {
  if (code != NULL)
    refuse(id, code);
  else
    reply(id, "%s", "");
}

/* Sockets */

struct kit_inner {
  struct kit_socket socket; /* first: the two are freed together */
  long long number;         /* 0: not accepted yet */
  struct kit_socket *listener;
  struct octets unread;
  bool lingers;
  long long linger_s;
  struct kit_inner *next;
};

static struct kit_inner *sockets;
static long long last_number;

static struct kit_socket *new_socket(int family) {
  struct kit_inner *made = checked(calloc(1, sizeof *made)), **place = &sockets;
  made->socket.family = family;
  made->socket.inner = made;
  while (*place != NULL) place = &(*place)->next;
  *place = made;
  return &made->socket;
}

static void free_socket(struct kit_socket *socket) {
  struct kit_inner **place = &sockets, *inner = socket->inner;
  while (*place != inner) place = &(*place)->next;
  *place = inner->next;
  free(inner->unread.data);
  free(inner);
}

struct kit_socket *kit_accepted(struct kit_socket *listener, void *handle, const char *address, unsigned port) {
  struct kit_socket *socket = new_socket(listener->family);
  socket->handle = handle;
  socket->connected = true;
  socket->port = port;
  snprintf(socket->address, sizeof socket->address, "%s", address);
  socket->inner->listener = listener;
  return socket;
}

void kit_connected(struct kit_socket *socket) { socket->connected = true; }
void kit_ended(struct kit_socket *socket) { socket->ended = true; }
void kit_failed(struct kit_socket *socket, const char *code) { socket->fault = code; }

void kit_arrived(struct kit_socket *socket, const void *data, size_t length) {
  append(&socket->inner->unread, data, length);
}

static bool is_gone(struct kit_socket *socket) {
  return socket->fault != NULL || (stack->forgotten != NULL && stack->forgotten(socket));
}

/* Calls. `run` gets one whose arguments are of the types and in the ranges of the table below. */

struct call {
  long long id;
  const struct operation *operation;
  const struct json *line;
  struct kit_socket *socket;
};

struct waiting {
  long long id;
  const struct operation *operation;
  struct kit_socket *socket; /* NULL: it was answered */
  int64_t until_ns;
  size_t count, maximum; /* of receive */
  struct octets data;    /* of send: what is left */
  size_t sent;
  bool at_once;          /* of send: answer with what was taken */
  struct waiting *next;
};

struct operation {
  const char *name, *arguments; /* a final ? marks those that may be left out */
  void (*run)(const struct call *);
  bool (*serve)(struct waiting *); /* of one that waits: answer it, or return false */
};

static struct waiting *waiting;

static long long whole(const struct call *call, const char *name, long long missing) {
  const struct json *value = member_of(call->line, name);
  return value != NULL ? value->whole : missing;
}

static bool truth(const struct call *call, const char *name, bool missing) {
  const struct json *value = member_of(call->line, name);
  return value != NULL ? value->truth : missing;
}

static const char *text(const struct call *call, const char *name) {
  const struct json *value = member_of(call->line, name);
  return value != NULL ? value->text : "";
}

/* Options are whole numbers. SO_LINGER is the kit's own: with no time to linger, close is abort. */

static bool is_linger(const char *level, const char *name) {
  return stack->abort != NULL && strcmp(level, "socket") == 0 && strcmp(name, "SO_LINGER") == 0;
}

static const char *set_linger(struct kit_inner *socket, const struct json *value) {
  const struct json *on = value->kind == ARRAY ? value->first : NULL, *seconds = on ? on->next : NULL;
  if (seconds == NULL || !on->is_whole || !seconds->is_whole)
    return kit_error("EINVAL", "SO_LINGER: [onoff, seconds] is needed");
  socket->lingers = on->whole != 0;
  socket->linger_s = seconds->whole;
  return NULL;
}

static const char *set_option(struct kit_socket *socket, const char *level, const char *name,
                              const struct json *value) {
  if (is_linger(level, name)) return set_linger(socket->inner, value);
  const char *code = "ENOPROTOOPT";
  if (stack->set_option != NULL && (value->kind == TRUTH || value->is_whole))
    code = stack->set_option(socket, level, name, value->kind == TRUTH ? value->truth : value->whole);
  return code == NULL || message[0] ? code : kit_error(code, "%.40s", name);
}

static void run_option_set(const struct call *call) {
  const struct json *value = member_of(call->line, "value");
  conclude(call->id, set_option(call->socket, text(call, "level"), text(call, "name"), value));
}

static void run_option_get(const struct call *call) {
  const char *level = text(call, "level"), *name = text(call, "name"), *code = "ENOPROTOOPT";
  long long value = 0;
  if (is_linger(level, name)) {
    reply(call->id, "\"value\":[%d,%lld]", call->socket->inner->lingers, call->socket->inner->linger_s);
    return;
  }
  if (stack->get_option != NULL) code = stack->get_option(call->socket, level, name, &value);
  if (code != NULL)
    refuse(call->id, message[0] ? code : kit_error(code, "%.40s", name));
  else
    reply(call->id, "\"value\":%lld", value);
}

/* Opening */

/* Make a socket that is bound and has its options; NULL where that was refused. */
static struct kit_socket *opened(const struct call *call, bool reuse) {
  int family = (int)whole(call, "family", 0);
  char name[8];
  snprintf(name, sizeof name, "ipv%d", family);
  if (strstr(stack->capabilities, name) == NULL) {
    refuse(call->id, "EAFNOSUPPORT");
    return NULL;
  }
  struct kit_socket *socket = new_socket(family);
  const char *code = stack->open(socket, text(call, "address"), (unsigned)whole(call, "port", 0), reuse);
  if (code != NULL) {
    free_socket(socket);
    refuse(call->id, code);
    return NULL;
  }
  const struct json *options = member_of(call->line, "options");
  for (const struct json *each = options ? options->first : NULL; each != NULL && code == NULL; each = each->next)
    code = set_option(socket, each->first->text, each->first->next->text, each->first->next->next);
  if (code == NULL) return socket;
  stack->close(socket);
  free_socket(socket);
  refuse(call->id, code);
  return NULL;
}

static void reply_with_socket(long long id, struct kit_socket *socket) {
  long long number = socket->inner->number = ++last_number;
  reply(id, "\"socket\":%lld,\"address\":\"%s\",\"port\":%u", number, socket->address, socket->port);
}

/* Answer with the socket, unless `code` says why it could not be opened. */
static void give_out(const struct call *call, struct kit_socket *socket, const char *code) {
  if (code != NULL) {
    stack->close(socket);
    free_socket(socket);
    refuse(call->id, code);
    return;
  }
  reply_with_socket(call->id, socket);
}

static void run_listen(const struct call *call) {
  struct kit_socket *socket = opened(call, true);
  if (socket == NULL) return;
  socket->listens = true;
  give_out(call, socket, stack->listen(socket, (int)whole(call, "backlog", 16)));
}

static void run_connect(const struct call *call) {
  struct kit_socket *socket = opened(call, truth(call, "reuse", false));
  if (socket == NULL) return;
  unsigned port = (unsigned)whole(call, "remote_port", 0);
  give_out(call, socket, stack->connect(socket, text(call, "remote_address"), port));
}

/* Calls that wait */

static struct waiting *await(const struct call *call) {
  struct waiting *made = checked(calloc(1, sizeof *made)), **place = &waiting;
  const struct json *timeout = member_of(call->line, "timeout");
  made->id = call->id;
  made->operation = call->operation;
  made->socket = call->socket;
  made->until_ns = KIT_NEVER;
  if (timeout != NULL && timeout->kind == NUMBER) made->until_ns = kit_now_ns() + (int64_t)(timeout->number * 1e9);
  while (*place != NULL) place = &(*place)->next;
  *place = made;
  return made;
}

/* Refuse what needs a connection where the socket listens, and urgent data always; returns false then. */
static bool is_connection(const struct call *call) {
  bool urgent = truth(call, "urgent", false), listens = call->socket->listens;
  if (urgent)
    refuse(call->id, kit_error("EOPNOTSUPP", "the stack has no urgent data"));
  else if (listens)
    refuse(call->id, kit_error("ENOTCONN", "the socket listens"));
  return !urgent && !listens;
}

static void run_accept(const struct call *call) {
  if (call->socket->listens)
    await(call);
  else
    refuse(call->id, kit_error("EINVAL", "the socket does not listen"));
}

/* A connection that has ended since is handed out all the same. */
static bool serve_accept(struct waiting *call) {
  for (struct kit_inner *each = sockets; each != NULL; each = each->next) {
    if (each->listener != call->socket) continue;
    each->listener = NULL;
    reply_with_socket(call->id, &each->socket);
    return true;
  }
  return false;
}

static void run_connected(const struct call *call) {
  if (is_connection(call)) await(call);
}

static bool serve_connected(struct waiting *call) {
  struct kit_socket *socket = call->socket;
  if (!socket->connected && !is_gone(socket)) return false;
  conclude(call->id, socket->connected ? NULL : socket->fault ? socket->fault : "ENOTCONN");
  return true;
}

static void run_send(const struct call *call) {
  const struct json *data = member_of(call->line, "data");
  struct octets octets = {0};
  if (!read_base64(data->text, data->length, &octets) || length_of(&octets) > MOST_OCTETS) {
    free(octets.data);
    refuse(call->id, kit_error("bad-request", "data: base64 of at most %d octets is needed", MOST_OCTETS));
    return;
  }
  if (!is_connection(call)) {
    free(octets.data);
    return;
  }
  struct waiting *made = await(call);
  made->data = octets;
  made->at_once = !truth(call, "wait", true);
}

static bool serve_send(struct waiting *call) {
  struct kit_socket *socket = call->socket;
  const char *code = socket->fault ? socket->fault : socket->shut ? "EPIPE" : NULL;
  size_t taken = 1;
  if (code == NULL && is_gone(socket)) code = socket->connected ? "EPIPE" : "ENOTCONN";
  while (code == NULL && taken > 0 && length_of(&call->data) > 0) {
    taken = 0;
    code = stack->send(socket, call->data.data + call->data.from, length_of(&call->data), &taken);
    call->data.from += taken;
    call->sent += taken;
  }
  if (code != NULL)
    refuse(call->id, message[0] ? code : kit_error(code, "%zu octets were taken", call->sent));
  else if (length_of(&call->data) == 0 || call->at_once)
    reply(call->id, "\"sent\":%zu", call->sent);
  else
    return false;
  return true;
}

static void run_receive(const struct call *call) {
  if (!is_connection(call)) return;
  struct waiting *made = await(call);
  made->count = (size_t)whole(call, "count", 1);
  made->maximum = (size_t)whole(call, "maximum", 65536);
  if (made->maximum < made->count) made->maximum = made->count;
}

/* Octets that arrived before an error are delivered before it. */
static bool serve_receive(struct waiting *call) {
  struct kit_socket *socket = call->socket;
  struct octets *unread = &socket->inner->unread;
  size_t here = length_of(unread), taken = here < call->maximum ? here : call->maximum;
  bool gone = is_gone(socket);
  if (here < call->count && !gone && !socket->ended) return false;
  if (here == 0 && (socket->fault != NULL || (gone && !socket->ended))) {
    refuse(call->id, socket->fault ? socket->fault : kit_error("ENOTCONN", "there is no connection"));
    return true;
  }
  bool at_end = taken == here && taken < (call->count ? call->count : 1) && socket->ended && socket->fault == NULL;
  printf("{\"id\":%lld,\"ok\":{\"data\":\"", call->id);
  if (taken > 0) print_base64(unread->data + unread->from, taken);
  printf("\",\"eof\":%s}", at_end ? "true" : "false");
  end_reply();
  unread->from += taken;
  if (taken > 0 && !gone) stack->received(socket, taken);
  return true;
}

/* Answer what can be answered, in order: of two calls that wait for the same thing the earlier first. */
static void serve(void) {
  bool again = true;
  if (stack->settle != NULL) stack->settle();
  while (again) {
    again = false;
    for (struct waiting **place = &waiting, *call; (call = *place) != NULL;) {
      bool done = call->socket == NULL, first = true;
      for (struct waiting *earlier = waiting; earlier != call; earlier = earlier->next)
        first = first && (earlier->socket != call->socket || earlier->operation != call->operation);
      if (!done && first) done = call->operation->serve(call);
      if (!done && call->at_once) {
        reply(call->id, "\"sent\":0"); /* an earlier one waits for room */
        done = true;
      }
      if (!done && call->until_ns <= kit_now_ns()) {
        refuse(call->id, kit_error("timeout", "%s: nothing came in time", call->operation->name));
        done = true;
      }
      if (!done) {
        place = &call->next;
        continue;
      }
      *place = call->next;
      free(call->data.data);
      free(call);
      again = true;
    }
  }
}

/* Closing */

static void run_shutdown(const struct call *call) {
  struct kit_socket *socket = call->socket;
  bool receiving = strcmp(text(call, "how"), "send") != 0, sending = strcmp(text(call, "how"), "receive") != 0;
  if (!is_connection(call)) return;
  if (is_gone(socket)) {
    refuse(call->id, kit_error("ENOTCONN", "there is no connection"));
    return;
  }
  const char *code = sending && !receiving && socket->shut ? NULL : stack->shutdown(socket, sending, receiving);
  if (code == NULL && sending) socket->shut = true;
  conclude(call->id, code);
}

/* Calls of a socket that goes away are refused; connections that nobody accepted go with their listener. */
static void end(const struct call *call, void (*how)(struct kit_socket *)) {
  struct kit_socket *socket = call->socket;
  how(socket);
  reply(call->id, "%s", "");
  for (struct waiting *each = waiting; each != NULL; each = each->next)
    if (each->socket == socket) {
      refuse(each->id, kit_error("no-such-socket", "the socket was closed"));
      each->socket = NULL;
    }
  for (struct kit_inner *each = sockets, *next; each != NULL; each = next) {
    next = each->next;
    if (each->listener == socket) {
      (stack->abort ? stack->abort : stack->close)(&each->socket);
      free_socket(&each->socket);
    }
  }
  free_socket(socket);
}

static void run_close(const struct call *call) {
  const struct kit_inner *inner = call->socket->inner;
  bool reset = inner->lingers && inner->linger_s == 0 && !call->socket->listens;
  end(call, reset ? stack->abort : stack->close);
}

static void run_abort(const struct call *call) { end(call, call->socket->listens ? stack->close : stack->abort); }

/* Questions */

static void run_error(const struct call *call) {
  if (call->socket->fault != NULL)
    reply(call->id, "\"code\":\"%s\"", call->socket->fault);
  else
    reply(call->id, "\"code\":null");
}

static void run_state(const struct call *call) {
  unsigned port = (unsigned)whole(call, "port", 0), remote_port = (unsigned)whole(call, "remote_port", 0);
  const char *address = text(call, "address"), *remote_address = text(call, "remote_address");
  int family = (int)whole(call, "family", 0);
  reply(call->id, "\"state\":\"%s\"", stack->state(family, address, port, remote_address, remote_port));
}

static void run_sockets(const struct call *call) {
  int count = 0, pending = 0;
  for (struct kit_inner *each = sockets; each != NULL; each = each->next) count += each->number != 0;
  for (struct waiting *each = waiting; each != NULL; each = each->next) pending += each->socket != NULL;
  reply(call->id, "\"count\":%d,\"pending\":%d", count, pending);
}

static void run_cancel(const struct call *call) {
  bool cancelled = false;
  for (struct waiting *each = waiting; each != NULL; each = each->next)
    if (each->id == whole(call, "request", 0) && each->socket != NULL) {
      each->socket = NULL;
      refuse(each->id, "cancelled");
      cancelled = true;
    }
  reply(call->id, "\"cancelled\":%s", cancelled ? "true" : "false");
}

/* Return true unless the operation needs a function that the stack leaves out. */
static bool can(const char *operation) {
  const struct {
    const char *name;
    bool there;
  } needs[] = {{"listen", stack->listen != NULL},     {"accept", stack->listen != NULL},
               {"connect", stack->connect != NULL},   {"connected", stack->connect != NULL},
               {"send", stack->send != NULL},         {"receive", stack->received != NULL},
               {"shutdown", stack->shutdown != NULL}, {"abort", stack->abort != NULL},
               {"state", stack->state != NULL}};
  for (size_t i = 0; i < sizeof needs / sizeof *needs; i++)
    if (strcmp(needs[i].name, operation) == 0) return needs[i].there;
  return true;
}

/* The hello names the calls that the stack has functions for, and what the stack says beyond them. */
static void print_hello(void) {
  static const char *const CALLS[] = {"listen",   "accept", "connect", "send",  "receive",
                                      "shutdown", "close",  "abort",   "error", "state"};
  printf("\"name\":\"%s\",\"version\":\"%s\",\"agent\":\"1\",\"protocol\":1,", stack->name, stack->version);
  printf("\"capabilities\":[\"virtual-time\"");
  for (size_t i = 0; i < sizeof CALLS / sizeof *CALLS; i++)
    if (can(CALLS[i])) printf(",\"%s\"", CALLS[i]);
  if (can("abort")) printf(",\"options:SO_LINGER\"");
  for (const char *at = stack->capabilities; *(at += strspn(at, " ")) != 0; at += strcspn(at, " "))
    printf(",\"%.*s\"", (int)strcspn(at, " "), at);
  putchar(']');
}

static void run_hello(const struct call *call) {
  printf("{\"id\":%lld,\"ok\":{", call->id);
  print_hello();
  putchar('}');
  end_reply();
}

/* The wire */

void kit_send_frame(const void *frame, size_t length) {
  frames_out++;
  acted = true;
  while (write(link_fd, frame, length) < 0) {
    struct pollfd ready = {link_fd, POLLOUT, 0};
    if (errno == EAGAIN)
      poll(&ready, 1, 1000);
    else if (errno != EINTR)
      return;
  }
}

static void read_frames(void) {
  static char frame[LONGEST_FRAME];
  ssize_t length;
  while ((length = read(link_fd, frame, sizeof frame)) > 0) {
    frames_in++;
    stack->frame(frame, (size_t)length);
    serve();
  }
  if (length == 0 || (errno != EAGAIN && errno != EINTR)) exit(0); /* the harness has let go of the wire */
}

static int64_t next_ns(void) {
  int64_t first = stack->next_timer_ns();
  for (struct waiting *each = waiting; each != NULL; each = each->next)
    if (each->until_ns < first) first = each->until_ns;
  return first;
}

static void run_clock(const struct call *call) {
  int64_t until_ns = whole(call, "until_ns", 0);
  if (!wire.is_virtual) {
    refuse(call->id, kit_error("unknown-op", "the clock is the machine's"));
    return;
  }
  read_frames();
  while (frames_in < whole(call, "frames_in", 0)) {
    struct pollfd ready = {link_fd, POLLIN, 0};
    poll(&ready, 1, -1);
    read_frames();
  }
  serve();
  while (!acted && virtual_ns < until_ns) {
    int64_t next = next_ns();
    virtual_ns = next < virtual_ns ? virtual_ns : next < until_ns ? next : until_ns;
    stack->run_timers();
    serve();
  }
  reply(call->id, "\"now_ns\":%lld,\"frames_out\":%lld", (long long)virtual_ns, frames_out);
  acted = false;
}

/* Requests */

static const struct {
  const char *name;
  char kind; /* i whole number, f 4 or 6, t seconds, b truth, s text, a address, c of `words`, o options, v any */
  long long least, most;
  const char *words;
} MEMBERS[] = {
    {"address", 'a', 0, KIT_ADDRESS, ""},
    {"backlog", 'i', 0, 1 << 30, ""},
    {"count", 'i', 0, MOST_OCTETS, ""},
    {"data", 's', 0, LONGEST_LINE, ""},
    {"family", 'f', 0, 0, ""},
    {"frames_in", 'i', 0, (1LL << 53) - 1, ""},
    {"how", 'c', 0, 0, "send receive both"},
    {"level", 'c', 0, 0, "socket tcp ip ipv6"},
    {"maximum", 'i', 1, MOST_OCTETS, ""},
    {"name", 's', 0, 100, ""},
    {"options", 'o', 0, MOST_OPTIONS, ""},
    {"port", 'i', 0, 65535, ""},
    {"remote_address", 'a', 0, KIT_ADDRESS, ""},
    {"remote_port", 'i', 0, 65535, ""},
    {"request", 'i', 0, (1LL << 53) - 1, ""},
    {"reuse", 'b', 0, 0, ""},
    {"socket", 'i', 0, (1LL << 53) - 1, ""},
    {"timeout", 't', 0, 1000000000, ""},
    {"until_ns", 'i', 0, 1LL << 62, ""},
    {"urgent", 'b', 0, 0, ""},
    {"value", 'v', 0, 0, ""},
    {"wait", 'b', 0, 0, ""},
};

static const struct operation OPERATIONS[] = {
    {"hello", "", run_hello, NULL},
    {"sockets", "", run_sockets, NULL},
    {"cancel", "request", run_cancel, NULL},
    {"listen", "family address port backlog? options?", run_listen, NULL},
    {"accept", "socket timeout?", run_accept, serve_accept},
    {"connect", "family remote_address remote_port address? port? reuse? options?", run_connect, NULL},
    {"connected", "socket timeout?", run_connected, serve_connected},
    {"send", "socket data urgent? wait?", run_send, serve_send},
    {"receive", "socket count? maximum? timeout? urgent?", run_receive, serve_receive},
    {"shutdown", "socket how", run_shutdown, NULL},
    {"close", "socket", run_close, NULL},
    {"abort", "socket", run_abort, NULL},
    {"error", "socket", run_error, NULL},
    {"state", "family address port remote_address? remote_port?", run_state, NULL},
    {"option_set", "socket level name value", run_option_set, NULL},
    {"option_get", "socket level name", run_option_get, NULL},
    {"clock", "until_ns frames_in", run_clock, NULL},
};

/* Find a word in a list of them; NULL where it is not there. */
static const char *find_word(const char *words, const char *word) {
  size_t length = strcspn(word, " ?");
  if (word[length] != 0) return NULL;
  for (const char *at = words; *(at += strspn(at, " ")) != 0; at += strcspn(at, " "))
    if (strncmp(at, word, length) == 0 && (at[length] == 0 || at[length] == ' ' || at[length] == '?')) return at;
  return NULL;
}

static bool is_address(const char *address, long long family) {
  struct in6_addr unused;
  return *address == 0 || inet_pton(family == 6 ? AF_INET6 : AF_INET, address, &unused) == 1;
}

static bool fits(const char *name, const struct json *value, long long family);

/* Each is [level, name, value]. */
static bool are_options(const struct json *list, long long most) {
  for (const struct json *each = list->first; each != NULL; each = each->next) {
    const struct json *level = each->kind == ARRAY ? each->first : NULL, *name = level ? level->next : NULL;
    if (most-- == 0 || name == NULL || name->next == NULL || name->next->next != NULL) return false;
    if (!fits("level", level, 0) || !fits("name", name, 0)) return false;
  }
  return true;
}

static bool fits(const char *name, const struct json *value, long long family) {
  size_t i = 0;
  while (strcmp(MEMBERS[i].name, name) != 0) i++;
  long long least = MEMBERS[i].least, most = MEMBERS[i].most;
  switch (MEMBERS[i].kind) {
    case 'i': return value->is_whole && value->whole >= least && value->whole <= most;
    case 'f': return value->is_whole && (value->whole == 4 || value->whole == 6);
    case 't': return value->kind == NOTHING || (value->kind == NUMBER && value->number >= 0 && value->number <= most);
    case 'b': return value->kind == TRUTH;
    case 's': return value->kind == TEXT && value->length <= (size_t)most;
    case 'a': return value->kind == TEXT && value->length < (size_t)most && is_address(value->text, family);
    case 'c': return value->kind == TEXT && value->length > 0 && find_word(MEMBERS[i].words, value->text) != NULL;
    case 'o': return value->kind == ARRAY && are_options(value, most);
    default: return true;
  }
}

/* See that the arguments are those of the operation; refuses where they are not. */
static bool check_arguments(const struct call *call) {
  const struct operation *operation = call->operation;
  const struct json *family = member_of(call->line, "family");
  long long version = family != NULL && family->is_whole ? family->whole : 0;
  for (const struct json *given = call->line->first; given != NULL; given = given->next) {
    const char *why = NULL;
    if (strcmp(given->key, "id") == 0 || strcmp(given->key, "op") == 0) continue;
    if (find_word(operation->arguments, given->key) == NULL)
      why = "%.60s: %s takes no such argument";
    else if (member_of(call->line, given->key) != given)
      why = "%.60s: %s has this argument twice";
    else if (!fits(given->key, given, version))
      why = "%.60s: %s takes no such value";
    if (why == NULL) continue;
    snprintf(message, sizeof message, why, given->key, operation->name);
    refuse(call->id, "bad-request");
    return false;
  }
  for (const char *at = operation->arguments; *(at += strspn(at, " ")) != 0; at += strcspn(at, " ")) {
    char name[32];
    size_t length = strcspn(at, " ?");
    snprintf(name, sizeof name, "%.*s", (int)length, at);
    if (at[length] == '?' || member_of(call->line, name) != NULL) continue;
    refuse(call->id, kit_error("bad-request", "%s: %s needs this argument", name, operation->name));
    return false;
  }
  return true;
}

static void dispatch(const struct json *line) {
  message[0] = 0;
  if (line == NULL || line->kind != OBJECT) {
    refuse(-1, kit_error("bad-json", "a line is one JSON object"));
    return;
  }
  const struct json *id = member_of(line, "id"), *op = member_of(line, "op");
  if (id == NULL || !id->is_whole || id->whole < 0) {
    refuse(-1, kit_error("bad-request", "id: a whole number is needed"));
    return;
  }
  struct call call = {id->whole, NULL, line, NULL};
  for (const struct waiting *each = waiting; each != NULL; each = each->next)
    if (each->id == call.id && each->socket != NULL) {
      refuse(call.id, kit_error("bad-request", "id: another request with this id is pending"));
      return;
    }
  if (op == NULL || op->kind != TEXT) {
    refuse(call.id, kit_error("bad-request", "op: a text is needed"));
    return;
  }
  for (size_t i = 0; i < sizeof OPERATIONS / sizeof *OPERATIONS; i++)
    if (strcmp(OPERATIONS[i].name, op->text) == 0 && can(op->text)) call.operation = &OPERATIONS[i];
  if (call.operation == NULL) {
    refuse(call.id, kit_error("unknown-op", "no operation %.60s", op->text));
    return;
  }
  if (!check_arguments(&call)) return;
  if (find_word(call.operation->arguments, "socket") != NULL) {
    long long number = whole(&call, "socket", 0);
    for (struct kit_inner *each = sockets; each != NULL; each = each->next)
      if (each->number == number && number != 0) call.socket = &each->socket;
    if (call.socket == NULL) {
      refuse(call.id, kit_error("no-such-socket", "socket: %lld is none", number));
      return;
    }
  }
  call.operation->run(&call);
  serve();
}

/* Serve one line, which ends with a zero. */
static void read_line(char *line, size_t length) {
  struct reader in = {line, NULL};
  struct json *value = memchr(line, 0, length) != NULL ? NULL : read_value(&in, 0);
  skip_space(&in);
  dispatch(value != NULL && *in.at == 0 ? value : NULL);
  while (in.last_made != NULL) {
    struct json *before = in.last_made->made_before;
    free(in.last_made);
    in.last_made = before;
  }
}

static void read_requests(void) {
  static struct octets input;
  static bool skipping; /* the rest of a line that is too long */
  char piece[65536];
  ssize_t length = read(0, piece, sizeof piece);
  if (length == 0) exit(0);
  for (char *at = piece, *end = piece + length; at < end;) {
    char *newline = memchr(at, '\n', (size_t)(end - at)), *stop = newline ? newline : end;
    if (!skipping) append(&input, at, (size_t)(stop - at));
    at = stop + 1;
    if (length_of(&input) > LONGEST_LINE) {
      refuse(-1, kit_error("bad-json", "a line is over %d octets", LONGEST_LINE));
      skipping = true;
    } else if (newline != NULL && !skipping) {
      size_t size = length_of(&input);
      append(&input, "", 1);
      read_line(input.data + input.from, size);
    }
    if (newline != NULL || skipping) input.from = input.to = 0;
    if (newline != NULL) skipping = false;
  }
}

/* The loop */

static const char *setting(const char *name) {
  const char *value = getenv(name);
  if (value == NULL) {
    fprintf(stderr, "%s is not set: this program is started by tcp-conformance\n", name);
    exit(2);
  }
  return value;
}

static int address_and_prefix(const char *setting, char *address) {
  size_t length = strcspn(setting, "/");
  snprintf(address, KIT_ADDRESS, "%.*s", (int)length, setting);
  return setting[length] == '/' ? atoi(setting + length + 1) : 0;
}

const struct kit_wire *kit_start(void) {
  static char outbox[1 << 16];
  link_fd = atoi(setting("TCP_CONFORMANCE_LINK_FD"));
  wire.is_virtual = strcmp(setting("TCP_CONFORMANCE_CLOCK"), "virtual") == 0;
  uint8_t *mac = wire.mac;
  const char *form = "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx";
  if (sscanf(setting("TCP_CONFORMANCE_MAC"), form, mac, mac + 1, mac + 2, mac + 3, mac + 4, mac + 5) != 6) exit(2);
  wire.ipv4_prefix = address_and_prefix(setting("TCP_CONFORMANCE_IPV4"), wire.ipv4);
  wire.ipv6_prefix = address_and_prefix(setting("TCP_CONFORMANCE_IPV6"), wire.ipv6);
  wire.mtu = atoi(setting("TCP_CONFORMANCE_MTU"));
  setvbuf(stdout, outbox, _IOFBF, sizeof outbox);
  fcntl(link_fd, F_SETFL, fcntl(link_fd, F_GETFL) | O_NONBLOCK);
  return &wire;
}

void kit_run(const struct kit_stack *given) {
  stack = given;
  printf("{\"hello\":{");
  print_hello();
  printf("}}\n");
  acted = false;
  for (;;) {
    int wait_ms = -1;
    fflush(stdout);
    if (!wire.is_virtual && next_ns() != KIT_NEVER) {
      int64_t left_ms = (next_ns() - kit_now_ns() + MS - 1) / MS;
      wait_ms = left_ms < 0 ? 0 : left_ms > 1000 ? 1000 : (int)left_ms;
    }
    struct pollfd ready[2] = {{link_fd, POLLIN, 0}, {0, POLLIN, 0}};
    if (poll(ready, 2, wait_ms) < 0 && errno != EINTR) exit(1);
    if (ready[0].revents) read_frames();
    if (ready[1].revents) read_requests();
    if (!wire.is_virtual) {
      stack->run_timers();
      serve();
    }
  }
}
