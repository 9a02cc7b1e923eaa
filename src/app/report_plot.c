#include "app/report.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Lay out the plot. */
enum {
    WIDTH = 640,
    HEIGHT = 380,
    LEFT = 62,
    RIGHT = 16,
    TOP = 34,
    BOTTOM = 96
};

static const char style[] =
    "text{font:12px sans-serif;fill:#222}.small{font-size:11px}"
    ".axis{stroke:#444;fill:none}.grid{stroke:#ddd;fill:none}"
    "path.a,line.a{stroke:#2c6fad}path.b,line.b{stroke:#c46f12}"
    "path.c,line.c{stroke:#4a8a3a}path.d,line.d{stroke:#b53a3a}"
    "path.line,line.line{fill:none;stroke-width:1.8}"
    ".dash{stroke-dasharray:5 4}"
    "@media screen and (prefers-color-scheme:dark){"
    "text{fill:#ddd}.axis{stroke:#aaa}.grid{stroke:#3a3a3a}}";

typedef struct plot {
    FILE *to;
    double x_most, y_most; /* tokens, GiB */
    double y_step;
} plot;

static double x_at(const plot *p, double x)
{
    return LEFT + x / p->x_most * (WIDTH - LEFT - RIGHT);
}

static double y_at(const plot *p, double y)
{
    return HEIGHT - BOTTOM - y / p->y_most * (HEIGHT - TOP - BOTTOM);
}

/* Choose the scale. */
static void choose_scale(plot *p, const app_line *lines, int count)
{
    double most = 0;
    for (int i = 0; i < count; i++)
        for (int k = 0; k < lines[i].count; k++) {
            p->x_most = fmax(p->x_most, lines[i].x[k]);
            most = fmax(most, lines[i].y[k]);
        }
    /* Ticks of 1, 2 or 5 times a power of ten, about five of them. */
    double rough = fmax(most, 1e-9) / 5, power = pow(10, floor(log10(rough)));
    double digit = rough / power;
    p->y_step = power * (digit <= 1 ? 1 : digit <= 2 ? 2 : digit <= 5 ? 5 : 10);
    p->y_most = p->y_step * ceil(fmax(most, 1e-9) / p->y_step);
    p->x_most = fmax(p->x_most, 1);
}

/* Draw the axes. */
static void draw_axes(const plot *p)
{
    for (double y = 0; y <= p->y_most * 1.0001; y += p->y_step) {
        fprintf(p->to, "<path class=\"grid\" d=\"M%d %.1fH%d\"/>\n", LEFT,
                y_at(p, y), WIDTH - RIGHT);
        fprintf(p->to,
                "<text class=\"small\" x=\"%d\" y=\"%.1f\" "
                "text-anchor=\"end\">%.4g</text>\n",
                LEFT - 6, y_at(p, y) + 4, y);
    }
    for (int i = 0; i <= 4; i++) {
        double x = p->x_most * i / 4;
        fprintf(p->to,
                "<text class=\"small\" x=\"%.1f\" y=\"%d\" "
                "text-anchor=\"middle\">%.0f</text>\n",
                x_at(p, x), HEIGHT - BOTTOM + 16, x);
    }
    fprintf(p->to, "<path class=\"axis\" d=\"M%d %dV%dH%d\"/>\n", LEFT, TOP,
            HEIGHT - BOTTOM, WIDTH - RIGHT);
    fprintf(p->to, "<text class=\"small\" x=\"8\" y=\"%d\">GiB</text>\n",
            TOP - 8);
    fprintf(p->to,
            "<text class=\"small\" x=\"%d\" y=\"%d\" "
            "text-anchor=\"end\">tokens</text>\n",
            WIDTH - RIGHT, HEIGHT - BOTTOM + 32);
}

/* Draw a line and its name. */
static void draw_line(const plot *p, const app_line *line, int row)
{
    const char *dash = line->dashed ? " dash" : "";
    fprintf(p->to, "<path class=\"line %c%s\" d=\"", line->tint, dash);
    for (int i = 0; i < line->count; i++) {
        double x = x_at(p, line->x[i]), y = y_at(p, line->y[i]);
        if (i > 0 && line->stairs)
            fprintf(p->to, "H%.1fV%.1f", x, y);
        else
            fprintf(p->to, "%c%.1f %.1f", i ? 'L' : 'M', x, y);
    }
    fprintf(p->to, "\"/>\n");
    int x = LEFT + row % 2 * 290, y = HEIGHT - BOTTOM + 50 + row / 2 * 18;
    fprintf(p->to,
            "<line class=\"line %c%s\" x1=\"%d\" y1=\"%d\" x2=\"%d\" "
            "y2=\"%d\"/>\n",
            line->tint, dash, x, y, x + 28, y);
    fprintf(p->to, "<text class=\"small\" x=\"%d\" y=\"%d\">%s</text>\n",
            x + 34, y + 4, line->name);
}

/* Write a plot. */
fo_status app_plot_write(const char *path, const char *title,
                         const app_line *lines, int count, fo_error *error)
{
    plot p = {.to = fopen(path, "w")};
    if (!p.to)
        return fo_fail(error, FO_IO, "cannot write %.150s: %s", path,
                       strerror(errno));
    choose_scale(&p, lines, count);
    fprintf(p.to,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" "
            "viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\">\n"
            "<title>%s</title>\n<style>%s</style>\n",
            WIDTH, HEIGHT, WIDTH, HEIGHT, title, style);
    fprintf(p.to, "<text x=\"%d\" y=\"16\" text-anchor=\"middle\">%s</text>\n",
            WIDTH / 2, title);
    draw_axes(&p);
    for (int i = 0; i < count; i++)
        draw_line(&p, &lines[i], i);
    fprintf(p.to, "</svg>\n");
    bool good = !ferror(p.to);
    if (fclose(p.to) != 0 || !good)
        return fo_fail(error, FO_IO, "cannot write %.150s: %s", path,
                       strerror(errno));
    return FO_OK;
}
