/* sandbox.h: takes away this process's way to the network, for good. */
#ifndef RINGTAPE_TOOLS_SANDBOX_H
#define RINGTAPE_TOOLS_SANDBOX_H

#include "base/err.h"

/* From now on no thread of this process, nor what it starts, can make a socket, connect one, or set up another ring: the kernel
 * answers EPERM (seccomp). Sockets that exist go on working. For when everything has been set up and CMD has been started. Fails with
 * ERR_UNSUPPORTED (a kernel or processor without it), ERR_IO. */
MUST_USE enum err sandbox_enter(void);

#endif
