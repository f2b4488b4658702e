/* clock.c: the system's clocks in nanoseconds. */
#include "base/clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static uint64_t clock_ns(clockid_t id)
{
    struct timespec ts;
    (void)clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

uint64_t clock_mono_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

uint64_t clock_wall_ns(void)
{
    return clock_ns(CLOCK_REALTIME);
}

void clock_iso8601(uint64_t wall_ns, char out[CLOCK_ISO_LEN])
{
    char text[64];
    struct tm tm;
    time_t s = (time_t)(wall_ns / NS_PER_S);
    if (!gmtime_r(&s, &tm))
        memset(&tm, 0, sizeof tm);
    int n = snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03uZ", tm.tm_year + 1900, tm.tm_mon + 1,
                     tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (unsigned)(wall_ns / NS_PER_MS % 1000));
    size_t keep = n < 0 ? 0 : (size_t)n < CLOCK_ISO_LEN - 1 ? (size_t)n : CLOCK_ISO_LEN - 1;
    memcpy(out, text, keep);
    out[keep] = '\0';
}
