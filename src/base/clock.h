/* clock.h: time. Nanoseconds since an arbitrary start (monotonic) or since 1970-01-01 UTC (wall). */
#ifndef RINGTAPE_BASE_CLOCK_H
#define RINGTAPE_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S  UINT64_C(1000000000)

uint64_t clock_mono_ns(void);
uint64_t clock_wall_ns(void);

enum { CLOCK_ISO_LEN = 25 };

/* "2026-01-31T12:00:00.123Z": ISO 8601, UTC, milliseconds; always terminated. */
void clock_iso8601(uint64_t wall_ns, char out[CLOCK_ISO_LEN]);

#endif
