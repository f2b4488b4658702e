/* list.h: an intrusive, circular, doubly linked list. A node is embedded in its owner and lies in one list at most.
 * A node or head must be initialised before use; a node that is in no list points at itself. */
#ifndef RINGTAPE_BASE_LIST_H
#define RINGTAPE_BASE_LIST_H

#include <stdbool.h>

struct list {
    struct list *prev, *next;
};

static inline void list_init(struct list *l)
{
    l->prev = l->next = l;
}

static inline bool list_empty(const struct list *l)
{
    return l->next == l;
}

/* Appends node at the end of the list. */
static inline void list_push(struct list *head, struct list *node)
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

/* Puts node at the front. */
static inline void list_push_front(struct list *head, struct list *node)
{
    list_push(head->next, node);
}

/* Takes node out of its list; harmless when it is in none. */
static inline void list_remove(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

/* Takes the first node out, or gives NULL. */
static inline struct list *list_pop(struct list *head)
{
    struct list *node = head->next;
    if (node == head)
        return (struct list *)0;
    list_remove(node);
    return node;
}

/* The body may remove `it`, nothing else. */
#define LIST_FOREACH(it, head)                                                                                         \
    for (struct list *it = (head)->next, *it##_next = it->next; it != (head); it = it##_next, it##_next = it->next)

#endif
