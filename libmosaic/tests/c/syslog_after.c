/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* With <syslog.h> behind the header. */
#include <mosaic/mosaic.h>
#include <syslog.h>

int main(void)
{
	if (LOG_ERR != 3 || MOSAIC_LOG_ERR != 1 || LOG_WARNING != 4 || LOG_DBG != 4)
		return 1;
	mosaic_set_log_lvl(MOSAIC_LOG_ERR);
	return 42;
}
