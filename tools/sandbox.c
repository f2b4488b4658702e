/* sandbox.c: one seccomp filter. What is left to a replay are its listeners and what they accept: those can neither be connected
 * elsewhere (connect, with AF_UNSPEC too, is refused) nor be joined by new ones (socket). sendto() and sendmsg() with an address need no
 * rule: on a connected stream socket the kernel ignores it, and no other socket can be had. io_uring operations go past seccomp, so no new ring
 * can be set up, and the rings that exist carry a restriction of their own (struct loop_config's no_connect). */
#include "tools/sandbox.h"

#include "base/util.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__) && !defined(__ILP32__)
#define SANDBOX_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define SANDBOX_ARCH AUDIT_ARCH_AARCH64
#endif

#ifdef SANDBOX_ARCH

/* Numbers above this are x32's on x86-64, another way to the same calls; elsewhere there are none. */
enum { SYSCALL_NUMBERS_END = 0x40000000 };

#define LOAD(field)         BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, field))
#define REFUSE              BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM)
#define REFUSE_CALL(number) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1), REFUSE

enum err sandbox_enter(void)
{
    struct sock_filter rules[] = {
        LOAD(arch),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SANDBOX_ARCH, 1, 0),
        REFUSE,
        LOAD(nr),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, SYSCALL_NUMBERS_END, 0, 1),
        REFUSE,
        REFUSE_CALL(SYS_socket),
        REFUSE_CALL(SYS_connect),
        REFUSE_CALL(SYS_io_uring_setup),
        REFUSE_CALL(SYS_pidfd_getfd),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = ARRAY_LEN(rules), .filter = rules};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return ERR_UNSUPPORTED;
    /* All threads: the sanitizers, for one, have their own. */
    long result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
    if (result == 0)
        return ERR_OK;
    return result < 0 && (errno == ENOSYS || errno == EINVAL) ? ERR_UNSUPPORTED : ERR_IO;
}

#else

enum err sandbox_enter(void)
{
    return ERR_UNSUPPORTED;
}

#endif
