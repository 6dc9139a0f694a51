/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The block device of a volume, asked for by two handles: whose it is. Argument: a mosaic whose volumes
 * have devices.
 */
#include "check.h"

#define ROUNDS 8

static mosaic_t m;
static volume_t mine, other;
static char device[64], another[64];

static void get_mine(void)
{
	CHECK(mosaic_get_vol_bdev(mine, device, (int)sizeof(device), 0) == (int)strlen(device));
}

static void of_two_handles_one_is_given_it(void)
{
	get_mine();
	CHECK(mosaic_last_changed() == 1);
	FAILS(MOSAIC_ERR_BUSY, mosaic_get_vol_bdev(other, another, (int)sizeof(another), 0));
	CHECK(strstr(mosaic_last_error(), device) != NULL);
	get_mine();
	CHECK(mosaic_last_changed() == 0);
	/* Whoever says so shares it, but not with other access. */
	FAILS(MOSAIC_ERR_BUSY, mosaic_get_vol_bdev(other, another, (int)sizeof(another),
						   MOSAIC_EXIST_OK | MOSAIC_RDONLY));
	FAILS(MOSAIC_ERR_BUSY, mosaic_get_vol_bdev(mine, another, (int)sizeof(another), MOSAIC_RDONLY));
	CHECK(mosaic_get_vol_bdev(other, another, (int)sizeof(another), MOSAIC_EXIST_OK) ==
	      (int)strlen(device));
	CHECK(mosaic_last_changed() == 0 && strcmp(another, device) == 0);
	CHECK(mosaic_put_vol_bdev(mine) == 0 && mosaic_last_changed() == 1);
	FAILS(MOSAIC_ERR_NOT_FOUND, mosaic_put_vol_bdev(other));
	CHECK(mosaic_put_vol_bdev_with(other, MOSAIC_MISSING_OK) == 0 && mosaic_last_changed() == 0);
}

/* A new device often has the path of the one before, which makes it nobody else's. */
static int is_taken_for_mine(void)
{
	int was_same;

	get_mine();
	CHECK(mosaic_put_vol_bdev(other) == 0);
	CHECK(mosaic_get_vol_bdev(other, another, (int)sizeof(another), 0) > 0);
	was_same = strcmp(another, device) == 0;
	FAILS(MOSAIC_ERR_BUSY, mosaic_get_vol_bdev(mine, device, (int)sizeof(device), 0));
	CHECK(mosaic_put_vol_bdev(other) == 0);
	return was_same;
}

int main(int argc, char **argv)
{
	int i, same = 0;

	CHECK(argc == 2);
	m = mosaic_open(argv[1], 0);
	CHECK(m != NULL);
	CHECK(mosaic_make_vol(m, "a", MIB(16), 0) == 0);
	mine = mosaic_open_vol(m, "a", 0);
	other = mosaic_open_vol(m, "a", 0);
	CHECK(mine != NULL && other != NULL);
	of_two_handles_one_is_given_it();
	/* Somebody else may take the path meanwhile. */
	for (i = 0; i < ROUNDS && same == 0; i++)
		same += is_taken_for_mine();
	CHECK(same > 0);
	CHECK(mosaic_drop_vol(mine, 0) == 0);
	mosaic_close_vol(other);
	mosaic_close(m);
	return DONE;
}
