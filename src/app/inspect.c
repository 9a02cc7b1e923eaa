#include "app/app.h"

#include "common/safetensors.h"
#include "model/config.h"
#include "model/gguf.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Say what inspect takes. */
typedef struct options {
    const char *path;
    uint64_t fill; /* bytes */
    int block_size;
    bool memory; /* show the plan, and nothing else */
    const fo_backend *backend;
} options;

static const struct argp_option flags[] = {
    {"fill", 'f', "BYTES", 0,
     "Memory to fill with blocks, such as 512M or 1.5G (1G)", 0},
    {"memory", 'm', NULL, 0, "Show what loading the model takes, part by part",
     0},
    {"device", 'd', "DEVICE", 0, "The device to load it on (cpu)", 0},
    {"block-size", 'b', "TOKENS", 0, "Tokens of a block (16)", 0},
    {0},
};

/* Read the flags of inspect. */
static error_t read_flag(int key, char *text, struct argp_state *state)
{
    options *o = state->input;
    if (key == 'f')
        o->fill = app_bytes(state, "--fill", text);
    else if (key == 'm')
        o->memory = true;
    else if (key == 'd')
        o->backend = app_backend(state, text);
    else if (key == 'b')
        o->block_size =
            (int)app_integer(state, "--block-size", text, 1, 1 << 20);
    else if (key == ARGP_KEY_ARG && o->path == NULL)
        o->path = text;
    else if (key == ARGP_KEY_ARG)
        argp_error(state, "'%s' is one file too many", text);
    else if (key == ARGP_KEY_NO_ARGS)
        argp_error(state, "which file?");
    else
        return ARGP_ERR_UNKNOWN;
    return 0;
}

/* Say what inspect is for. */
static const struct argp parser = {
    .options = flags,
    .parser = read_flag,
    .args_doc = "FILE",
    .doc = "Show a GGUF or safetensors file: metadata, tensors, and what a "
           "model's cache costs.",
};

/* Write numbers and text for a person. */
const char *app_grouped(uint64_t value, app_written out)
{
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%" PRIu64, value), at = 0;
    for (int i = 0; i < n; i++) {
        if (i > 0 && (n - i) % 3 == 0)
            out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = '\0';
    return out;
}

const char *app_size_name(uint64_t bytes, app_written out)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    int unit = 0;
    double value = (double)bytes;
    for (; value >= 1024 && unit < 4; unit++)
        value /= 1024;
    snprintf(out, sizeof(app_written), "%.4g %s", value, units[unit]);
    return out;
}

/* Show one value of the metadata. */
enum { ELEMENTS_SHOWN = 6, BYTES_SHOWN = 60 };

static void show_value(const fo_gguf_entry *entry)
{
    fo_gguf_array value = entry->value;
    uint64_t count = value.count;
    if (value.type == FO_GGUF_ARRAY) {
        printf("arrays");
        return;
    }
    for (uint64_t i = 0; i < count && i < ELEMENTS_SHOWN; i++) {
        if (i > 0)
            putchar(' ');
        if (value.type == FO_GGUF_STRING) {
            fo_gguf_string text = fo_gguf_array_take(&value);
            app_show_text(text.data, text.length,
                          entry->is_array ? 12 : BYTES_SHOWN);
        } else if (value.type == FO_GGUF_BOOL) {
            printf("%s",
                   fo_gguf_array_number(&value, i) != 0 ? "true" : "false");
        } else {
            bool whole = value.type != FO_GGUF_F32 && value.type != FO_GGUF_F64;
            printf(whole ? "%.0f" : "%.7g", fo_gguf_array_number(&value, i));
        }
    }
    if (count > ELEMENTS_SHOWN)
        printf(" ...");
}

/* Show the metadata. */
static void show_metadata(const fo_gguf *gguf)
{
    int width = 0;
    char key[64], type[48];
    for (int i = 0; i < fo_gguf_entry_count(gguf); i++) {
        size_t length = fo_gguf_entry_at(gguf, i)->key.length;
        if ((int)length > width)
            width = length < sizeof key ? (int)length : (int)sizeof key - 1;
    }
    printf("\nmetadata: %d\n", fo_gguf_entry_count(gguf));
    for (int i = 0; i < fo_gguf_entry_count(gguf); i++) {
        const fo_gguf_entry *entry = fo_gguf_entry_at(gguf, i);
        const char *name = fo_gguf_type_name(entry->value.type);
        if (entry->is_array)
            snprintf(type, sizeof type, "%s[%" PRIu64 "]", name,
                     entry->value.count);
        else
            snprintf(type, sizeof type, "%s", name);
        printf("  %-*s  %-13s  ", width,
               fo_gguf_string_show(entry->key, key, sizeof key), type);
        show_value(entry);
        putchar('\n');
    }
}

/* Show the tensors. */
static void show_tensors(const fo_gguf *gguf)
{
    int width = 4;
    char name[72], shape[96];
    app_written bytes, offset;
    for (int i = 0; i < fo_gguf_tensor_count(gguf); i++) {
        int length = (int)fo_gguf_tensor_at(gguf, i)->name.length;
        width = length > width ? length : width;
    }
    printf("\ntensors: %d\n", fo_gguf_tensor_count(gguf));
    printf("  %-*s  %-7s  %15s  %15s  %15s\n", width, "name", "type", "shape",
           "bytes", "offset");
    for (int i = 0; i < fo_gguf_tensor_count(gguf); i++) {
        const fo_gguf_tensor *tensor = fo_gguf_tensor_at(gguf, i);
        int at = 0;
        for (int d = tensor->rank; d-- > 0;)
            at +=
                snprintf(shape + at, sizeof shape - (size_t)at, "%" PRId64 "%s",
                         tensor->dims[d], d > 0 ? " x " : "");
        printf("  %-*s  %-7s  %15s  %15s  %15s\n", width,
               fo_gguf_string_show(tensor->name, name, sizeof name),
               tensor->type_name, shape, app_grouped(tensor->bytes, bytes),
               app_grouped(tensor->offset, offset));
    }
}

/* Show totals by type. */
static void show_totals(const fo_gguf *gguf)
{
    int count = fo_gguf_tensor_count(gguf);
    uint64_t all = 0;
    app_written bytes, size;
    printf("\ntotals\n  %-7s  %7s  %15s\n", "type", "tensors", "bytes");
    for (int i = 0; i < count; i++) {
        const char *type = fo_gguf_tensor_at(gguf, i)->type_name;
        uint64_t sum = 0;
        int alike = 0, first = i;
        for (int k = 0; k < count; k++) {
            const fo_gguf_tensor *other = fo_gguf_tensor_at(gguf, k);
            if (strcmp(other->type_name, type) != 0)
                continue;
            first = k < first ? k : first;
            sum += other->bytes;
            alike++;
        }
        if (first < i)
            continue;
        all += sum;
        printf("  %-7s  %7d  %15s\n", type, alike, app_grouped(sum, bytes));
    }
    printf("  %-7s  %7d  %15s  %s\n", "all", count, app_grouped(all, bytes),
           app_size_name(all, size));
}

/* Show what the cache costs. */
static void show_cache(const fo_gguf *gguf, const options *o)
{
    static const fo_dtype types[] = {FO_F32, FO_F16};
    fo_config config;
    fo_error error;
    app_written fill, token, block, blocks, tokens;
    if (fo_config_read(gguf, &config, &error) != FO_OK) {
        printf("\ncache: not known: %s\n", error.message);
        return;
    }
    printf("\ncache: 2 x %d layers x %d kv heads x %d dimensions a token\n",
           config.L, config.K, config.D);
    printf("  blocks of %d tokens that fit in %s, cache alone:\n",
           o->block_size, app_size_name(o->fill, fill));
    printf("  %-7s  %15s  %15s  %15s  %15s\n", "type", "bytes a token",
           "bytes a block", "blocks", "tokens");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        uint64_t bytes = fo_config_kv_bytes(&config, types[i]), whole;
        uint64_t size = (uint64_t)o->block_size;
        if (__builtin_mul_overflow(bytes, size, &whole))
            whole = UINT64_MAX;
        uint64_t fit = o->fill / whole;
        printf("  %-7s  %15s  %15s  %15s  %15s\n",
               fo_dtype_info_get(types[i])->name, app_grouped(bytes, token),
               app_grouped(whole, block), app_grouped(fit, blocks),
               app_grouped(fit * size, tokens));
    }
}

/* Show a GGUF file. */
static fo_status show_gguf(const options *o, fo_error *error)
{
    fo_gguf *gguf;
    app_written size;
    fo_status status = fo_gguf_open(o->path, &gguf, error);
    if (status != FO_OK)
        return status;
    printf("%s: GGUF version %" PRIu32 ", %s, alignment %" PRIu32 "\n", o->path,
           fo_gguf_version(gguf), app_size_name(fo_gguf_bytes(gguf), size),
           fo_gguf_alignment(gguf));
    if (o->memory) {
        status = app_plan_show(gguf, o->backend, o->block_size, error);
        fo_gguf_close(&gguf);
        return status;
    }
    show_metadata(gguf);
    if (fo_gguf_tensor_count(gguf) > 0) {
        show_tensors(gguf);
        show_totals(gguf);
    }
    show_cache(gguf, o);
    fo_gguf_close(&gguf);
    return FO_OK;
}

/* Show a safetensors file. */
static void show_safetensor(const fo_safetensor *tensor, int width)
{
    char shape[8 * 24] = "scalar", name[72];
    app_written bytes;
    int at = 0;
    for (int d = 0; d < tensor->rank; d++)
        at += snprintf(shape + at, sizeof shape - (size_t)at, "%s%" PRId64,
                       d > 0 ? " x " : "", tensor->shape[d]);
    fo_gguf_string text = {tensor->name, strlen(tensor->name)};
    printf("  %-*s  %-7s  %15s  %15s\n", width,
           fo_gguf_string_show(text, name, sizeof name),
           fo_dtype_info_get(tensor->dtype)->name, shape,
           app_grouped(tensor->bytes, bytes));
}

static fo_status show_safetensors(const options *o, fo_error *error)
{
    fo_safetensors *file;
    fo_status status = fo_safetensors_open(o->path, &file, error);
    if (status != FO_OK)
        return status;
    printf("%s: safetensors\n\nmetadata\n", o->path);
    fo_metadata entry;
    for (int i = 0; fo_safetensors_metadata_at(file, i, &entry); i++) {
        printf("  %-20s  ", entry.key);
        app_show_text(entry.value, strlen(entry.value), BYTES_SHOWN);
        putchar('\n');
    }
    int width = 4;
    for (int i = 0; i < fo_safetensors_count(file); i++) {
        int length = (int)strlen(fo_safetensors_at(file, i)->name);
        width = length > width && length < 72 ? length : width;
    }
    printf("\ntensors: %d\n  %-*s  %-7s  %15s  %15s\n",
           fo_safetensors_count(file), width, "name", "type", "shape", "bytes");
    for (int i = 0; i < fo_safetensors_count(file); i++)
        show_safetensor(fo_safetensors_at(file, i), width);
    fo_safetensors_close(&file);
    return FO_OK;
}

/* Look what kind of file it is. */
static fo_status look(const char *path, bool *is_gguf, fo_error *error)
{
    char head[9] = {0};
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return fo_fail(error, FO_IO, "cannot open %s: %s", path,
                       strerror(errno));
    size_t have = fread(head, 1, sizeof head, file);
    fclose(file);
    *is_gguf = have >= 4 && memcmp(head, "GGUF", 4) == 0;
    if (!*is_gguf && (have < 9 || head[8] != '{'))
        return fo_fail(error, FO_FORMAT,
                       "%s is neither a GGUF nor a safetensors file", path);
    return FO_OK;
}

/* Inspect a file. */
int app_inspect(int argc, char **argv)
{
    options o = {.fill = 1ULL << 30, .block_size = 16};
    fo_error error;
    bool is_gguf;
    argp_parse(&parser, argc, argv, 0, NULL, &o);
    if (!o.backend)
        o.backend = app_backend(NULL, NULL);
    fo_status status = look(o.path, &is_gguf, &error);
    if (status == FO_OK)
        status = is_gguf ? show_gguf(&o, &error) : show_safetensors(&o, &error);
    return status == FO_OK ? APP_OK : app_fail(&error);
}
