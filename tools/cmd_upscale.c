/* SPDX-License-Identifier: Apache-2.0 */
/* oriel upscale: enlarge pictures and clips. */
#include "batch.h"

static const char more[] =
    "IN is a picture, a clip, a folder of these, or - for stdin. Several inputs, or a folder, are\n"
    "written into the folder OUT: pictures as PNG, clips as what they were; where a.png and a.jpg\n"
    "meet, the second becomes a.jpg.png. Outputs appear under their names when they are complete,\n"
    "and none that exists is replaced without -f.\n"
    "\n"
    "A clip keeps its times, its colours, and its audio, subtitles and chapters. Stopped, it is\n"
    "out.part.mp4, which plays; --resume goes on from there. With -o out/%06d.png it becomes\n"
    "pictures; pictures become a clip with -o out.mp4 --fps 24.\n"
    "\n"
    "Without --model, the scale chooses between the models swinir-light-x2 and -x4 (in\n"
    "$ORIEL_MODELS, or where oriel is installed); without --scale it is the model's, or 4.\n"
    "Any scale S from 1 on is reached by running the model until S is reached or passed,\n"
    "then bicubic reduction to exactly S.\n"
    "\n"
    "exit codes: 0 all done, 1 some files failed (named at the end), 2 misused, 3 trouble\n"
    "with the model, 130 stopped by Ctrl-C (what was written is complete)\n";

int cmd_upscale(int argc, char **argv)
{
    batch_options b = batch_defaults();
    const arg_option own[] = {
        ARG_TEXT("model", 'm', &b.model, "FILE",
                 "the network: a checkpoint, or the name of a model"),
        ARG_REAL("scale", 's', &b.scale, "S", 1, 64,
                 "of the result, such as 2 or 1.5; default: the model's, or 4"),
        ARG_END,
    };
    arg_option options[BATCH_MAX_OPTIONS];
    batch_table(options, own, &b);
    const arg_command self = {"upscale", "IN... -o OUT", "Enlarge pictures and clips.", more, options, 1, -1};

    int code = args_parse(&self, &argc, argv);
    if (code != ARGS_GO_ON || (code = batch_check("upscale", &b)) != ARGS_GO_ON)
        return code;
    if (!b.model && b.scale == 0)
        b.scale = 4;
    return batch_main("upscale", argv + 1, argc - 1, &b);
}
