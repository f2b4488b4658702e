/* uring.c: the io_uring backend. Multishot accept and receive, receive buffers in one ring per loop that the kernel picks from, one
 * submission a turn.
 *
 * Invariants: user_data is the address of an embedded op (0 for cancellations, whose own result says nothing); its owner stays alive
 * until the completion without F_MORE, so no completion can meet a freed op. A receive buffer goes back to the ring as soon as
 * done() returns, so once the completions of a turn are handled the kernel has all of them again. A receive that found none
 * (ENOBUFS) waits in `starved`, still pending for its owner, and is armed again at the next turn; at most as many as there are
 * buffers, oldest first, so that everybody gets a turn. room() keeps enough of the submission queue free that a request for an
 * entry never fails. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/util.h"
#include "ring/backend.h"

#include <assert.h>
#include <liburing.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    URING_ENTRIES = 256,
    URING_ENTRIES_MIN = 8,
    URING_ROOM = 4, /* entries that the sync of one io may take */
    URING_GROUP = 0,
};

struct uring {
    struct io_uring ring;
    struct io_uring_buf_ring *buffers; /* its entries, and where they lie */
    size_t buffers_bytes;
    uint8_t *memory;
    size_t memory_bytes;
    unsigned buffer_count, buffer_bytes;
    struct list starved;
    struct op wake;
    uint64_t wake_value;
    pid_t thread; /* that may submit; 0: not known yet */
    bool enabled;
};

/* ---- creating ---- */

static const unsigned uring_flags[] = {
    /* 6.1; completions are made when the loop asks for them, not in between */
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
    IORING_SETUP_COOP_TASKRUN,
    0,
};

static enum err uring_error(int res)
{
    switch (-res) {
    case EPERM:
    case EACCES:
    case ENOSYS:
    case EINVAL:
    case EOPNOTSUPP:
        return ERR_UNSUPPORTED;
    default:
        return err_from_errno(-res);
    }
}

static int uring_setup(struct io_uring *ring, unsigned entries, unsigned completions)
{
    int res = -EINVAL;
    for (size_t i = 0; i < ARRAY_LEN(uring_flags) && res == -EINVAL; i++) {
        struct io_uring_params params = {
            .flags = uring_flags[i] | IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
            .cq_entries = completions,
        };
        res = io_uring_queue_init_params(entries, ring, &params);
    }
    return res;
}

/* Multishot receive cannot be probed for; sending without copies came with the same kernel, 6.0. */
static bool uring_kernel_suits(struct io_uring *ring)
{
    struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
    if (!probe)
        return false;
    bool suits = io_uring_opcode_supported(probe, IORING_OP_SEND_ZC) && (ring->features & IORING_FEAT_EXT_ARG) &&
                 (ring->features & IORING_FEAT_NODROP) && (ring->features & IORING_FEAT_CQE_SKIP);
    io_uring_free_probe(probe);
    return suits;
}

bool loop_io_uring_usable(void)
{
    struct io_uring ring;
    if (uring_setup(&ring, URING_ENTRIES_MIN, URING_ENTRIES_MIN) < 0)
        return false;
    bool suits = uring_kernel_suits(&ring);
    io_uring_queue_exit(&ring);
    return suits;
}

/* Debian 12's shared liburing lacks the wrappers of two of these. */
static int uring_register(struct io_uring *ring, unsigned what, const void *arg, unsigned count)
{
    return io_uring_register((unsigned)ring->ring_fd, what, arg, count);
}

/* From here on the kernel itself refuses what a loop that must not connect has no use for. */
static int uring_restrict(struct io_uring *ring)
{
    static const uint8_t operations[] = {IORING_OP_ACCEPT,  IORING_OP_RECV, IORING_OP_SEND,
                                         IORING_OP_SENDMSG, IORING_OP_READ, IORING_OP_ASYNC_CANCEL};
    static const uint8_t registers[] = {IORING_REGISTER_RING_FDS, IORING_UNREGISTER_RING_FDS};
    struct io_uring_restriction rules[ARRAY_LEN(operations) + ARRAY_LEN(registers) + 1] = {0};
    unsigned n = 0;
    for (size_t i = 0; i < ARRAY_LEN(operations); i++, n++) {
        rules[n].opcode = IORING_RESTRICTION_SQE_OP;
        rules[n].sqe_op = operations[i];
    }
    for (size_t i = 0; i < ARRAY_LEN(registers); i++, n++) {
        rules[n].opcode = IORING_RESTRICTION_REGISTER_OP;
        rules[n].register_op = registers[i];
    }
    rules[n].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
    rules[n++].sqe_flags = IOSQE_BUFFER_SELECT | IOSQE_CQE_SKIP_SUCCESS;
    return uring_register(ring, IORING_REGISTER_RESTRICTIONS, rules, n);
}

static void *uring_map(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static void uring_buffer_back(struct uring *u, unsigned id)
{
    io_uring_buf_ring_add(u->buffers, u->memory + (size_t)id * u->buffer_bytes, u->buffer_bytes, (unsigned short)id,
                          io_uring_buf_ring_mask(u->buffer_count), 0);
    io_uring_buf_ring_advance(u->buffers, 1);
}

static enum err uring_buffers_open(struct uring *u)
{
    u->buffers_bytes = u->buffer_count * sizeof(struct io_uring_buf);
    u->memory_bytes = (size_t)u->buffer_count * u->buffer_bytes;
    u->buffers = uring_map(u->buffers_bytes);
    u->memory = uring_map(u->memory_bytes);
    if (!u->buffers || !u->memory)
        return ERR_NOMEM;
    struct io_uring_buf_reg reg = {.ring_addr = (uintptr_t)u->buffers,
                                   .ring_entries = u->buffer_count,
                                   .bgid = URING_GROUP};
    int res = io_uring_register_buf_ring(&u->ring, &reg, 0);
    if (res < 0)
        return uring_error(res);
    io_uring_buf_ring_init(u->buffers);
    for (unsigned id = 0; id < u->buffer_count; id++)
        uring_buffer_back(u, id);
    return ERR_OK;
}

static void uring_free(struct uring *u)
{
    if (u->buffers)
        munmap(u->buffers, u->buffers_bytes);
    if (u->memory)
        munmap(u->memory, u->memory_bytes);
    mem_free(u);
}

static void uring_close(struct loop *loop)
{
    struct uring *u = loop->state;
    io_uring_queue_exit(&u->ring);
    uring_free(u);
    loop->state = NULL;
}

static enum err uring_refused(struct loop *loop, int res)
{
    enum err e = uring_error(res);
    if (e != ERR_UNSUPPORTED)
        log_write(loop->log, LOG_ERROR, "ring", "io_uring: %s (%s)", strerror(-res),
                  e == ERR_NO_FDS ? "the limit is RLIMIT_NOFILE"
                                  : "the limit is RLIMIT_MEMLOCK or the control group's memory");
    return e;
}

static enum err uring_open(struct loop *loop, const struct loop_config *config)
{
    struct uring *u = mem_new(1, sizeof *u);
    if (!u)
        return ERR_NOMEM;
    u->buffer_count = config->recv_buffers ? config->recv_buffers : LIMIT_RECV_BUFFERS;
    u->buffer_bytes = config->recv_buffer_bytes ? config->recv_buffer_bytes : LIMIT_RECV_BUFFER_BYTES;
    assert((u->buffer_count & (u->buffer_count - 1)) == 0 && u->buffer_count <= 32768);
    unsigned completions = config->completions ? config->completions : MAX(4 * u->buffer_count, 4u * URING_ENTRIES);
    completions = MAX(completions, (unsigned)URING_ENTRIES_MIN);
    list_init(&u->starved);
    int res = uring_setup(&u->ring, MIN((unsigned)URING_ENTRIES, completions), completions);
    if (res < 0) {
        uring_free(u);
        return uring_refused(loop, res);
    }
    loop->state = u;
    enum err e = uring_kernel_suits(&u->ring) ? uring_buffers_open(u) : ERR_UNSUPPORTED;
    if (!e && config->no_connect && (res = uring_restrict(&u->ring)) < 0)
        e = uring_refused(loop, res);
    if (e)
        uring_close(loop);
    return e;
}

/* ---- submitting ---- */

static struct io_uring_sqe *uring_entry(struct uring *u)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
    assert(sqe);
    return sqe;
}

static bool uring_room_for(struct loop *loop, unsigned entries)
{
    struct uring *u = loop->state;
    if (io_uring_sq_space_left(&u->ring) >= entries)
        return true;
    loop_count(&loop->count.submissions, 1);
    return io_uring_submit(&u->ring) >= 0 && io_uring_sq_space_left(&u->ring) >= entries;
}

static bool uring_room(struct loop *loop)
{
    return uring_room_for(loop, URING_ROOM);
}

static void uring_begin(struct loop *loop, struct io_uring_sqe *sqe, struct op *op)
{
    assert(!op->pending);
    io_uring_sqe_set_data(sqe, op);
    op->pending = true;
    op->cancelling = false;
    loop->pending++;
}

static void uring_prepare_receive(struct uring *u, struct op *op)
{
    struct io_uring_sqe *sqe = uring_entry(u);
    io_uring_prep_recv_multishot(sqe, op->io->fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = URING_GROUP;
    io_uring_sqe_set_data(sqe, op);
}

static void uring_take(struct loop *loop, struct io *io)
{
    struct uring *u = loop->state;
    if (io->in.kind == OP_RECV) {
        uring_prepare_receive(u, &io->in);
        io->in.pending = true;
        io->in.cancelling = false;
        loop->pending++;
        return;
    }
    struct io_uring_sqe *sqe = uring_entry(u);
    if (io->single)
        io_uring_prep_accept(sqe, io->fd, NULL, NULL, SOCK_CLOEXEC);
    else
        io_uring_prep_multishot_accept(sqe, io->fd, NULL, NULL, SOCK_CLOEXEC);
    uring_begin(loop, sqe, &io->in);
}

static int uring_send(struct loop *loop, struct io *io)
{
    struct io_uring_sqe *sqe = uring_entry(loop->state);
    if (io->msg.msg_iovlen == 1)
        io_uring_prep_send(sqe, io->fd, io->pieces[0].iov_base, io->pieces[0].iov_len, MSG_NOSIGNAL | MSG_WAITALL);
    else
        io_uring_prep_sendmsg(sqe, io->fd, &io->msg, MSG_NOSIGNAL | MSG_WAITALL);
    uring_begin(loop, sqe, &io->out);
    return IO_LATER;
}

static int uring_connect(struct loop *loop, struct io *io, const struct sockaddr *address, socklen_t length)
{
    assert(!loop->no_connect);
    struct io_uring_sqe *sqe = uring_entry(loop->state);
    io_uring_prep_connect(sqe, io->fd, address, length);
    uring_begin(loop, sqe, &io->out);
    return IO_LATER;
}

static bool uring_cancel(struct loop *loop, struct op *op)
{
    struct uring *u = loop->state;
    assert(op->pending && !op->cancelling);
    if (op->kind == OP_RECV && !list_empty(&op->io->ready)) {
        list_remove(&op->io->ready);
        op->pending = false;
        loop->pending--;
        return true;
    }
    struct io_uring_sqe *sqe = uring_entry(u);
    io_uring_prep_cancel(sqe, op, 0);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    io_uring_sqe_set_data(sqe, NULL);
    op->cancelling = true;
    return false;
}

/* ---- completing ---- */

static void uring_complete(struct loop *loop, uint64_t user_data, int res, unsigned flags)
{
    struct uring *u = loop->state;
    struct op *op = (struct op *)(uintptr_t)user_data;
    if (!op)
        return;
    struct completion c = {.res = res, .more = (flags & IORING_CQE_F_MORE) != 0};
    unsigned id = flags >> IORING_CQE_BUFFER_SHIFT;
    if ((flags & IORING_CQE_F_BUFFER) && res > 0)
        c.data = span_of(u->memory + (size_t)id * u->buffer_bytes, (size_t)res);
    if (op->kind == OP_WAKE) {
        op->pending = false;
        return;
    }
    if (res == -ENOBUFS && op->kind == OP_RECV && !c.more && !op->cancelling) {
        list_push(&u->starved, &op->io->ready);
        loop_count(&loop->count.starved, 1);
        return;
    }
    if (res == -EAGAIN)
        fd_set_blocking(op->io->fd,
                        true); /* it came to us non-blocking: the kernel then gives up where it should wait */
    if (!c.more) {
        op->pending = op->cancelling = false;
        loop->pending--;
    }
    op->done(op->io, &c);
    if (flags & IORING_CQE_F_BUFFER)
        uring_buffer_back(u, id);
}

/* What is there now, no more: a kernel without DEFER_TASKRUN adds to it while this runs. */
static void uring_complete_all(struct loop *loop)
{
    struct uring *u = loop->state;
    for (unsigned left = io_uring_cq_ready(&u->ring); left > 0; left--) {
        struct io_uring_cqe *cqe;
        if (io_uring_peek_cqe(&u->ring, &cqe) < 0)
            break;
        uint64_t user_data = cqe->user_data;
        int res = cqe->res;
        unsigned flags = cqe->flags;
        io_uring_cqe_seen(&u->ring, cqe);
        uring_complete(loop, user_data, res, flags);
    }
}

/* ---- the turn ---- */

static void uring_arm(struct loop *loop)
{
    struct uring *u = loop->state;
    if (!u->wake.pending && uring_room(loop)) {
        struct io_uring_sqe *sqe = uring_entry(u);
        io_uring_prep_read(sqe, loop->wake_fd, &u->wake_value, sizeof u->wake_value, 0);
        io_uring_sqe_set_data(sqe, &u->wake);
        u->wake.kind = OP_WAKE;
        u->wake.pending = true;
    }
    for (unsigned i = 0; i < u->buffer_count && !list_empty(&u->starved) && uring_room_for(loop, 1); i++) {
        struct io *io = container_of(list_pop(&u->starved), struct io, ready);
        uring_prepare_receive(u, &io->in);
    }
}

static int uring_submit_and_wait(struct loop *loop, uint64_t until_ns)
{
    struct uring *u = loop->state;
    if (io_uring_sq_ready(&u->ring))
        loop_count(&loop->count.submissions, 1);
    uint64_t now = until_ns && until_ns != WHEEL_NEVER ? clock_mono_ns() : 0;
    if (until_ns <= now)
        return io_uring_submit_and_get_events(&u->ring);
    if (until_ns == WHEEL_NEVER)
        return io_uring_submit_and_wait(&u->ring, 1);
    uint64_t ns = until_ns - now;
    struct __kernel_timespec limit = {.tv_sec = (int64_t)(ns / NS_PER_S), .tv_nsec = (long long)(ns % NS_PER_S)};
    struct io_uring_cqe *cqe;
    return io_uring_submit_and_wait_timeout(&u->ring, &cqe, 1, &limit, NULL);
}

static enum err uring_turn(struct loop *loop, uint64_t until_ns)
{
    struct uring *u = loop->state;
    uring_arm(loop);
    if (!list_empty(&u->starved) || !u->wake.pending)
        until_ns = 0;
    int res = uring_submit_and_wait(loop, until_ns);
    loop->now_ns = clock_mono_ns();
    uring_complete_all(loop);
    switch (res < 0 ? -res : 0) {
    case 0:
    case ETIME:
    case EINTR:
    case EAGAIN:
    case EBUSY:
        return ERR_OK;
    default:
        log_write(loop->log, LOG_ERROR, "ring", "io_uring_enter: %s", strerror(-res));
        return res == -ENOMEM ? ERR_NOMEM : ERR_IO;
    }
}

static enum err uring_enter(struct loop *loop)
{
    struct uring *u = loop->state;
    if (u->thread && u->thread != gettid())
        return ERR_UNSUPPORTED;
    u->thread = gettid();
    /* Saves a look-up of the ring's descriptor in each turn; without it all works, too. It belongs to this thread. */
    (void)io_uring_register_ring_fd(&u->ring);
    if (u->enabled)
        return ERR_OK;
    int res = uring_register(&u->ring, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
    if (res < 0)
        return uring_error(res);
    u->enabled = true;
    return ERR_OK;
}

static void uring_leave(struct loop *loop)
{
    struct uring *u = loop->state;
    (void)io_uring_unregister_ring_fd(&u->ring);
}

static enum err uring_attach(struct loop *loop, struct io *io)
{
    (void)loop;
    (void)io;
    return ERR_OK;
}

static void uring_detach(struct loop *loop, struct io *io)
{
    (void)loop;
    (void)io;
}

const struct backend backend_uring = {
    .name = "io_uring",
    .open = uring_open,
    .close = uring_close,
    .enter = uring_enter,
    .leave = uring_leave,
    .turn = uring_turn,
    .room = uring_room,
    .attach = uring_attach,
    .detach = uring_detach,
    .take = uring_take,
    .send = uring_send,
    .connect = uring_connect,
    .cancel = uring_cancel,
};
