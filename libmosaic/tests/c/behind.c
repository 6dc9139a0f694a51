/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A drop or a rename that fails when it is made: the handle goes by what has become of the volume, and
 * never touches what others give its name to. Arguments: a mosaic of the driver that fails behind its
 * commits, its location, the driver's folder.
 */
#include <unistd.h>

#include "check.h"

static const char *location;
static mosaic_t m, others;

static volume_t make(const char *name)
{
	volume_t volume;

	CHECK(mosaic_make_vol(m, name, MIB(1), 0) == 0 && mosaic_last_changed() == 1);
	volume = mosaic_open_vol(m, name, 0);
	CHECK(volume != NULL && mosaic_last_changed() == 0);
	return volume;
}

static int says(const char *text)
{
	return strstr(mosaic_last_error(), text) != NULL;
}

static int is_there(const char *name)
{
	return mosaic_have_vol(others, name, 0);
}

/* Another volume of a name, and what the handle does to it: nothing. */
static void is_closed(volume_t v, const char *name)
{
	CHECK(mosaic_make_vol(others, name, MIB(1), 0) == 0);
	FAILS(MOSAIC_ERR_INVALID, mosaic_drop_vol(v, 0));
	CHECK(says("has been dropped or lost sight of"));
	FAILS(MOSAIC_ERR_INVALID, mosaic_rename_vol(v, "elsewhere", 0));
	FAILS_NULL(MOSAIC_ERR_INVALID, mosaic_get_vol_info(v, 0));
	CHECK(is_there(name) == 1 && is_there("elsewhere") == 0);
	/* To close it is no error, once. */
	mosaic_close_vol(v);
	CHECK(says("has been dropped or lost sight of"));
	mosaic_close_vol(v);
	CHECK(says("has been closed"));
}

static void drop(const char *name)
{
	volume_t v = make(name);

	FAILS(MOSAIC_ERR_IO, mosaic_drop_vol(v, 0));
	CHECK(mosaic_last_changed() == 1);
	CHECK(says("\" is gone, but perhaps not for good: ") && !says("cannot drop"));
	CHECK(is_there(name) == 0);
	is_closed(v, name);
}

/* It has the new name: that is what is dropped, though others have made a volume of the old one. */
static void rename_it(const char *name)
{
	char text[8];
	volume_t v = make(name);

	FAILS(MOSAIC_ERR_IO, mosaic_rename_vol(v, "new", 0));
	CHECK(mosaic_last_changed() == 1);
	CHECK(says("\" is \"new\" now, but perhaps not for good: ") && !says("cannot rename"));
	CHECK(mosaic_make_vol(others, name, MIB(1), 0) == 0);
	CHECK(mosaic_get_vol_name(v, text, sizeof(text)) == 3 && strcmp(text, "new") == 0);
	CHECK(is_there("new") == 1);
	FAILS(MOSAIC_ERR_IO, mosaic_drop_vol(v, 0));
	CHECK(is_there("new") == 0 && is_there(name) == 1);
}

static void see_again(void)
{
	char path[4096];

	FAILS(MOSAIC_ERR_IO, is_there("unseen"));
	snprintf(path, sizeof(path), "%s/blind", location);
	CHECK(unlink(path) == 0);
	CHECK(is_there("unseen") == 0);
}

/* Nobody can say whether it is made: the handle is for neither name any more. */
static void lose_sight(void)
{
	volume_t v = make("unseen");

	FAILS(MOSAIC_ERR_IO, mosaic_drop_vol(v, 0));
	CHECK(mosaic_last_changed() == 1);
	CHECK(says("cannot drop volume \"unseen\", nor see whether that was done all the same: "));
	see_again();
	is_closed(v, "unseen");
	v = mosaic_open_vol(m, "unseen", 0);
	FAILS(MOSAIC_ERR_IO, mosaic_rename_vol(v, "seen", 0));
	CHECK(mosaic_last_changed() == 1);
	CHECK(says("cannot rename volume \"unseen\" to \"seen\", nor see whether "));
	see_again();
	CHECK(is_there("seen") == 1);
	is_closed(v, "unseen");
}

/* What fails before anything has changed leaves the handle as it was. */
static void keep(void)
{
	char text[8];
	volume_t v = make("kept");

	FAILS(MOSAIC_ERR_BUSY, mosaic_drop_vol(v, 0));
	CHECK(says("cannot drop volume \"kept\": in use"));
	FAILS(MOSAIC_ERR_BUSY, mosaic_rename_vol(v, "given", 0));
	CHECK(says("cannot rename volume \"kept\" to \"given\": in use"));
	CHECK(mosaic_last_changed() == 0);
	CHECK(mosaic_get_vol_name(v, text, sizeof(text)) == 4 && strcmp(text, "kept") == 0);
	mosaic_close_vol(v);
}

/* The driver does not fail at all of them. */
static void do_well(void)
{
	volume_t v = make("fine");

	CHECK(mosaic_drop_vol(v, 0) == 0 && is_there("fine") == 0);
	v = make("fine");
	CHECK(mosaic_rename_vol(v, "well", 0) == 0 && is_there("well") == 1);
	mosaic_close_vol(v);
}

int main(int argc, char **argv)
{
	struct mosaic_options options;

	CHECK(argc == 4);
	location = argv[2];
	memset(&options, 0, sizeof(options));
	options.size = sizeof(options);
	options.driver_path = argv[3];
	m = mosaic_open_with(argv[1], &options, 0);
	others = mosaic_open_with(argv[1], &options, 0);
	CHECK(m != NULL && others != NULL);
	drop("a");
	drop("panics");
	rename_it("b");
	lose_sight();
	keep();
	do_well();
	mosaic_close(m);
	mosaic_close(others);
	return DONE;
}
