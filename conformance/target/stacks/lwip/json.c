/* See json.h. */
#include "json.h"

#include <stdlib.h>
#include <string.h>

#define DEEPEST 16

struct block {
  struct block *before;
  struct json value;
};

struct reader {
  char *at;
  struct block *last;
};

static struct json *made(struct reader *in) {
  struct block *one = calloc(1, sizeof *one);
  if (one == NULL) abort();
  one->before = in->last;
  in->last = one;
  return &one->value;
}

static void skip(struct reader *in) { in->at += strspn(in->at, " \t\r\n"); }

static int hex4(const char *at) {
  int value = 0;
  for (int i = 0; i < 4; i++) {
    const char *digits = "0123456789abcdef", *found;
    char c = at[i];
    if (c >= 'A' && c <= 'F') c += 'a' - 'A';
    if (c == 0 || (found = strchr(digits, c)) == NULL) return -1;
    value = value * 16 + (int)(found - digits);
  }
  return value;
}

static char *utf8(char *out, unsigned code) {
  if (code < 0x80) {
    *out++ = (char)code;
  } else if (code < 0x800) {
    *out++ = (char)(0xC0 | code >> 6);
    *out++ = (char)(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    *out++ = (char)(0xE0 | code >> 12);
    *out++ = (char)(0x80 | (code >> 6 & 0x3F));
    *out++ = (char)(0x80 | (code & 0x3F));
  } else {
    *out++ = (char)(0xF0 | code >> 18);
    *out++ = (char)(0x80 | (code >> 12 & 0x3F));
    *out++ = (char)(0x80 | (code >> 6 & 0x3F));
    *out++ = (char)(0x80 | (code & 0x3F));
  }
  return out;
}

/* The text behind a quotation mark, ended by a zero octet; an escape is never shorter than what it stands for. */
static char *text(struct reader *in, size_t *length) {
  static const char *from = "\"\\/bfnrt", *to = "\"\\/\b\f\n\r\t";
  char *start = in->at, *out = start;
  while (*in->at != '"') {
    unsigned char c = (unsigned char)*in->at++;
    if (c < 0x20) return NULL;
    if (c != '\\') {
      *out++ = (char)c;
      continue;
    }
    c = (unsigned char)*in->at++;
    if (c == 'u') {
      int code = hex4(in->at);
      if (code < 0) return NULL;
      in->at += 4;
      if (code >= 0xD800 && code < 0xDC00 && in->at[0] == '\\' && in->at[1] == 'u') {
        int low = hex4(in->at + 2);
        if (low < 0xDC00 || low > 0xDFFF) return NULL;
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        in->at += 6;
      }
      out = utf8(out, (unsigned)code);
      continue;
    }
    const char *found = c ? strchr(from, c) : NULL;
    if (found == NULL) return NULL;
    *out++ = to[found - from];
  }
  in->at++;
  *out = 0;
  *length = (size_t)(out - start);
  return start;
}

static struct json *value(struct reader *in, int depth);

static bool members(struct reader *in, struct json *into, char end, int depth) {
  struct json **place = &into->first;
  in->at++;
  skip(in);
  if (*in->at == end) {
    in->at++;
    return true;
  }
  for (;;) {
    const char *key = NULL;
    size_t length;
    skip(in);
    if (end == '}') {
      if (*in->at++ != '"' || (key = text(in, &length)) == NULL) return false;
      skip(in);
      if (*in->at++ != ':') return false;
    }
    struct json *one = value(in, depth + 1);
    if (one == NULL) return false;
    one->key = key;
    *place = one;
    place = &one->next;
    skip(in);
    if (*in->at == end) {
      in->at++;
      return true;
    }
    if (*in->at++ != ',') return false;
  }
}

static bool number(struct reader *in, struct json *one) {
  const char *start = in->at, *digits = start + (*start == '-');
  size_t size = strspn(start, "+-0123456789.eE"), many = strspn(digits, "0123456789");
  char *end;
  if (many == 0) return false;
  one->number = strtod(start, &end);
  if ((size_t)(end - start) != size) return false;
  one->is_whole = start + size == digits + many && many <= 19;
  one->whole = one->is_whole ? strtoll(start, NULL, 10) : 0;
  in->at = end;
  return true;
}

static bool word(struct reader *in, const char *said) {
  size_t length = strlen(said);
  if (strncmp(in->at, said, length) != 0) return false;
  in->at += length;
  return true;
}

static struct json *value(struct reader *in, int depth) {
  struct json *one = made(in);
  bool good;
  skip(in);
  if (depth > DEEPEST) return NULL;
  switch (*in->at) {
    case '{':
      one->kind = JSON_OBJECT;
      good = members(in, one, '}', depth);
      break;
    case '[':
      one->kind = JSON_ARRAY;
      good = members(in, one, ']', depth);
      break;
    case '"':
      one->kind = JSON_TEXT;
      in->at++;
      good = (one->text = text(in, &one->length)) != NULL;
      break;
    case 't':
    case 'f':
      one->kind = JSON_BOOL;
      one->truth = *in->at == 't';
      good = word(in, one->truth ? "true" : "false");
      break;
    case 'n':
      one->kind = JSON_NULL;
      good = word(in, "null");
      break;
    default:
      one->kind = JSON_NUMBER;
      good = number(in, one);
  }
  return good ? one : NULL;
}

static void freed(struct block *last) {
  while (last != NULL) {
    struct block *before = last->before;
    free(last);
    last = before;
  }
}

struct json *json_read(char *line) {
  struct reader in = {line, NULL};
  /* The outermost value lies in the first block: it leads to none of the others when they are freed, so remember the last. */
  struct json *root = made(&in);
  struct json *found = value(&in, 0);
  skip(&in);
  if (found == NULL || *in.at != 0) {
    freed(in.last);
    return NULL;
  }
  *root = *found;
  root->next = (struct json *)in.last;
  return root;
}

void json_free(struct json *root) {
  if (root != NULL) freed((struct block *)root->next);
}

const struct json *json_member(const struct json *object, const char *key) {
  for (const struct json *one = object->first; one != NULL; one = one->next)
    if (one->key != NULL && strcmp(one->key, key) == 0) return one;
  return NULL;
}
