/* A reader of one JSON line. Values lie in one block that is freed at once; texts are unescaped in place. */
#ifndef JSON_H
#define JSON_H

#include <stdbool.h>
#include <stddef.h>

enum json_kind { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_TEXT, JSON_ARRAY, JSON_OBJECT };

struct json {
  enum json_kind kind;
  const char *key;    /* in an object */
  const char *text;   /* JSON_TEXT */
  size_t length;      /* of text */
  double number;      /* JSON_NUMBER */
  long long whole;    /* JSON_NUMBER: exact where is_whole */
  bool is_whole;
  bool truth;         /* JSON_BOOL */
  struct json *first; /* JSON_ARRAY, JSON_OBJECT */
  struct json *next;  /* the neighbour in its array or object */
};

/* The value of a line, which is changed; NULL where it is no JSON, or nested too deeply. Free it with json_free. */
struct json *json_read(char *line);
void json_free(struct json *value);

/* A member of an object; NULL where there is none. */
const struct json *json_member(const struct json *object, const char *key);

#endif
