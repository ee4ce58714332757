/* SPDX-License-Identifier: ISC
 * Strangers talk to this program, so it does not stay root: it becomes nobody, and of root's rights it keeps the one to
 * listen on low ports, for what a later configuration asks for. Where root has no such rights to give, as in some
 * containers, it says so and goes on.
 */
#include "relay.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NOBODY 65534

static bool become_nobody(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct kept[2] = { { 0 } };

	kept[0].permitted = kept[0].effective = 1u << CAP_NET_BIND_SERVICE;
	return !prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) && !setgroups(0, NULL) && !setresgid(NOBODY, NOBODY, NOBODY) &&
	       !setresuid(NOBODY, NOBODY, NOBODY) && !syscall(SYS_capset, &header, kept);
}

void privileges_drop(void)
{
	if (geteuid() == 0 && !become_nobody())
		say("root's rights cannot be given away: %s", strerror(errno));
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
#ifdef __SANITIZE_ADDRESS__
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); /* its search for leaks traces us */
#endif
}
