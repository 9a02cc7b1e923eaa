/* Continue a text in two ways that share the blocks of its tokens. */
#include <err.h>
#include <folio/folio.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    fo_session_options two = {.sequences = 2};
    fo_sampling how[2] = {{0}, {.temperature = 0.7f, .top_p = 0.95f}};
    fo_session *session[2];
    fo_device *device;
    fo_error error;
    int32_t *ids, token;
    size_t count, length;
    char text[256];
    if (argc != 3)
        errx(2, "usage: continue MODEL TEXT");
    if (fo_backend_cpu.open(NULL, &device, &error) ||
        fo_session_load(device, argv[1], &two, &session[0], &error) ||
        fo_session_encode(session[0], argv[2], strlen(argv[2]),
                          FO_TOKENIZER_BOS, &ids, &count, &error) ||
        fo_session_prefill(session[0], ids, count, NULL, &error) ||
        fo_session_fork(session[0], &session[1], &error))
        errx(1, "%s", error.message);
    fo_memory_free(ids);
    const fo_model *model = fo_session_model(session[0]);
    for (int i = 0; i < 2; i++, puts(""))
        for (int n = 0; n < 24; n++, fwrite(text, 1, length, stdout))
            if (fo_session_decode(session[i], &how[i], &token, &error) ||
                fo_tokenizer_decode(fo_model_tokenizer(model), token, false,
                                    text, sizeof text, &length, &error))
                errx(1, "%s", error.message);
    fo_session_unload(&session[0]);
    fo_session_unload(&session[1]);
    fo_backend_cpu.close(&device);
}
