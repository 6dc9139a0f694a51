/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* With <syslog.h> before the header: LOG_ERR is the one of syslog, MOSAIC_LOG_ERR is ours. */
#include <syslog.h>
#include <mosaic/mosaic.h>

int main(void)
{
	if (LOG_ERR != 3 || MOSAIC_LOG_ERR != 1 || LOG_WARNING != 4 || LOG_DBG != 4)
		return 1;
	mosaic_set_log_lvl(MOSAIC_LOG_ERR);
	return 42;
}
