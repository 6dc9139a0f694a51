/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A program that loses memory of its own. Argument: a mosaic. */
#include "check.h"

int main(int argc, char **argv)
{
	mosaic_t m;
	char *lost;

	CHECK(argc == 2);
	m = mosaic_open(argv[1], 0);
	CHECK(m != NULL);
	lost = long_text(100);
	CHECK(lost[0] == 'a');
	lost = NULL;
	CHECK(lost == NULL);
	mosaic_close(m);
	return DONE;
}
