// Every kernel against the scalar one on random inputs, without Python: for sanitizers (make
// sanitize) and for processors that are emulated (make processors). Takes the number of
// rounds; another argument leaves out what is large enough for threads. Prints the kernels that ran
// and how many values agreed.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "compress.h"
#include "dispatch.h"
#include "search.h"

using namespace rag_tools;

namespace {

// An index of random values. Arrays are no longer than they must be, so that a sanitizer sees
// every access past their end.
struct RandomIndex {
    RandomIndex(std::mt19937& random, int dim, int bits, int n_passages, int longest)
        : n_centroids(50) {
        const CodeLayout layout = CodeLayout::of(dim, bits);
        token_offsets.push_back(0);
        for (int i = 0; i < n_passages; ++i)
            token_offsets.push_back(token_offsets.back() + 1 +
                                    static_cast<int64_t>(random() % longest));
        const size_t n_tokens = static_cast<size_t>(token_offsets.back());
        codes.resize((n_tokens + 15) / 16 * layout.groups * 64);
        for (uint8_t& code : codes) code = static_cast<uint8_t>(random());
        token_centroids.resize(n_tokens);
        for (uint16_t& centroid : token_centroids) centroid = random() % n_centroids;
        gains.resize(n_tokens);
        for (uint8_t& gain : gains) gain = static_cast<uint8_t>(random());
        inverse_norms.resize(n_tokens);
        for (uint16_t& norm : inverse_norms) norm = 0x3800 + random() % 0x800;   // 0.5 to 2
        quantized.resize(static_cast<size_t>(n_centroids) * dim);
        for (int8_t& value : quantized) value = static_cast<int8_t>(random() % 255 - 127);
        scales.assign(n_centroids, 0.01f);
        steps.assign(dim, 0.00003f);
        for (int8_t& value : values) value = static_cast<int8_t>(random() % 255 - 127);
        centroids = {quantized.data(), scales.data(), n_centroids, dim};
        segment = {{codes.data(), token_centroids.data(), gains.data(), inverse_norms.data(),
                    values, layout, false},
                   steps.data(),
                   token_offsets.data(),
                   n_passages,
                   token_offsets.back()};
    }

    int n_centroids;
    std::vector<int64_t> token_offsets;
    std::vector<uint8_t> codes, gains;
    std::vector<uint16_t> token_centroids, inverse_norms;
    std::vector<int8_t> quantized;
    std::vector<float> scales, steps;
    int8_t values[2 * kValues];
    Centroids centroids;
    Segment segment;
};

// All places of two segments, or of one.
std::vector<Place> places_of(const std::vector<Segment>& segments) {
    std::vector<Place> places;
    for (size_t segment = 0; segment < segments.size(); ++segment)
        for (int64_t i = 0; i < segments[segment].n_passages; ++i)
            places.push_back({static_cast<int64_t>(segment), i});
    return places;
}

std::vector<float> refined(const Kernel& kernel, const RandomIndex& index,
                           const std::vector<Segment>& segments, const Vectors& vectors,
                           const std::vector<float>& weights, const std::vector<Place>& places,
                           const std::vector<double>& priors, int64_t limit, int threads) {
    std::vector<float> scores(places.size());
    refine(kernel, vectors, weights.data(), index.centroids, segments, places.data(),
           priors.data(), static_cast<int64_t>(places.size()), limit, 1e-6, threads,
           scores.data());
    return scores;
}

std::vector<float> run(const Kernel& kernel, const RandomIndex& index, const Vectors& vectors,
                       const std::vector<float>& weights, int threads) {
    const std::vector<Segment> segments(2, index.segment);
    const std::vector<Place> places = places_of(segments);
    const std::vector<double> priors(places.size());
    std::vector<float> scores = refined(kernel, index, segments, vectors, weights, places, priors,
                                        static_cast<int64_t>(places.size()), threads);
    const int64_t last = index.segment.n_passages - 1;
    const size_t tokens =
        static_cast<size_t>(index.token_offsets[last + 1] - index.token_offsets[last]);
    std::vector<float> grid(vectors.n * tokens),
        table(static_cast<size_t>(vectors.n) * index.n_centroids);
    similarities(kernel, vectors, index.centroids, index.segment, last, grid.data());
    centroid_scores(kernel, vectors, index.centroids, threads, table.data());
    scores.insert(scores.end(), grid.begin(), grid.end());
    scores.insert(scores.end(), table.begin(), table.end());
    return scores;
}

void fail(const Kernel& kernel, const char* what, int dim, int bits, int n) {
    std::printf("%s: %s at %d dimensions, %d bits, %d query tokens\n", kernel.name, what, dim, bits,
                n);
    std::exit(1);
}

// What is scored is scored exactly, and what is left out isn't among the best.
void prune(std::mt19937& random, const Kernel& kernel, const RandomIndex& index,
           const Vectors& vectors, const std::vector<float>& weights, int threads) {
    const std::vector<Segment> segments(2, index.segment);
    const std::vector<Place> places = places_of(segments);
    const int64_t n = static_cast<int64_t>(places.size());
    std::vector<double> priors(places.size()), sums(places.size());
    for (double& prior : priors) prior = static_cast<double>(random() % 100) / 1000;
    const std::vector<float> exact =
        refined(kernel, index, segments, vectors, weights, places, priors, n, threads);
    const int64_t limit = 1 + static_cast<int64_t>(random() % places.size());
    const std::vector<float> some =
        refined(kernel, index, segments, vectors, weights, places, priors, limit, threads);
    for (size_t i = 0; i < places.size(); ++i) sums[i] = exact[i] + priors[i];
    std::vector<double> sorted = sums;
    std::sort(sorted.rbegin(), sorted.rend());
    for (size_t i = 0; i < places.size(); ++i)
        if (std::isinf(some[i]) ? sums[i] >= sorted[limit - 1] : some[i] != exact[i])
            fail(kernel, "refine leaves out what is among the best", vectors.dim,
                 index.segment.tokens.layout.bits, vectors.n);
}

size_t compare(std::mt19937& random, int dim, int bits, int n, int n_passages, int longest) {
    const RandomIndex index(random, dim, bits, n_passages, longest);
    std::normal_distribution<float> normal;
    std::vector<float> rows(static_cast<size_t>(n) * dim), weights(n, 1.0f / n);
    for (float& value : rows) value = normal(random);
    const Vectors vectors = {rows.data(), n, dim};
    const std::vector<float> expected = run(scalar_kernel(), index, vectors, weights, 1);
    size_t agreed = 0;
    for (const Kernel* kernel : supported_kernels()) {
        const std::vector<float> got = run(*kernel, index, vectors, weights, 4);
        if (std::memcmp(got.data(), expected.data(), got.size() * sizeof(float)) != 0)
            fail(*kernel, "differs from scalar", dim, bits, n);
        prune(random, *kernel, index, vectors, weights, 4);
        agreed += got.size();
    }
    return agreed;
}

void visit_cells(std::mt19937& random) {
    const int n_centroids = 1 + static_cast<int>(random() % 5000), dim = 8;
    const int64_t n_passages = 1 + random() % 50;
    std::vector<int8_t> quantized(static_cast<size_t>(n_centroids) * dim);
    for (int8_t& value : quantized) value = static_cast<int8_t>(random() % 5);
    const std::vector<float> scales(n_centroids, 0.01f);
    std::vector<int64_t> sizes(n_centroids);
    for (int64_t& size : sizes) size = random() % 20;
    std::vector<uint32_t> cells, offsets = {0}, passages;
    for (int cell = 0; cell < n_centroids; cell += 1 + random() % 3) {
        cells.push_back(static_cast<uint32_t>(cell));
        for (int64_t i = 0; i < sizes[cell]; ++i)
            passages.push_back(static_cast<uint32_t>(random() % n_passages));
        offsets.push_back(static_cast<uint32_t>(passages.size()));
    }
    const CellDirectory directory(cells.data(), static_cast<int64_t>(cells.size()), n_centroids);
    for (size_t i = 0; i < cells.size(); ++i)
        if (directory.find(cells[i]) != static_cast<int64_t>(i)) std::exit(1);
    std::vector<uint8_t> selected(n_passages);
    for (uint8_t& bit : selected) bit = random() % 4 != 0;
    const std::vector<uint16_t> narrow(passages.begin(), passages.end());
    const Postings postings = {&directory, offsets.data(), passages.data(),
                               static_cast<int64_t>(passages.size()), true};
    const Postings narrow_postings = {&directory, offsets.data(), narrow.data(),
                                      static_cast<int64_t>(narrow.size()), false};
    const TiledCentroids centroids({quantized.data(), scales.data(), n_centroids, dim});
    const Cells arrays = {&centroids,
                          sizes.data(),
                          {postings, narrow_postings},
                          {selected.data(), selected.data()},
                          {n_passages, n_passages}};
    const int n = 1 + static_cast<int>(random() % 20);
    std::vector<float> rows(static_cast<size_t>(n) * dim), weights(n, 1.0f / n);
    for (float& value : rows) value = static_cast<float>(random() % 7) - 3;
    const Place boosted = {1, 0};
    const float boost = 0.5f;
    const int64_t reach = random() % 9000, wanted = 1 + random() % 120;
    const auto run = [&](const Kernel& kernel) {
        return gather(kernel, {rows.data(), n, dim}, weights.data(), arrays, &boosted, &boost, 1,
                      reach, wanted, 2);
    };
    const std::vector<Place> expected = run(scalar_kernel());
    for (const Kernel* kernel : supported_kernels()) {
        const std::vector<Place> got = run(*kernel);
        const auto same = [](const Place& a, const Place& b) {
            return a.segment == b.segment && a.position == b.position;
        };
        if (!std::equal(got.begin(), got.end(), expected.begin(), expected.end(), same))
            fail(*kernel, "gather differs from scalar", dim, 0, n);
    }
}

// What writing does, on arrays no longer than they must be. Every kernel chooses alike.
void compress(std::mt19937& random) {
    const int dim = 1 + random() % 140;
    const CodeLayout layout = CodeLayout::of(dim, 1 << random() % 3);
    const int64_t n = 1 + random() % 600, n_centroids = 2 + random() % 900;
    std::normal_distribution<float> normal;
    std::vector<float> vectors(n * dim), scales(n_centroids, 0.01f), steps(dim, 0.01f);
    for (float& value : vectors) value = normal(random);
    std::vector<int8_t> quantized(n_centroids * dim), values(2 * kValues);
    for (int8_t& value : quantized) value = static_cast<int8_t>(random() % 255 - 127);
    for (int8_t& value : values) value = static_cast<int8_t>(random() % 255 - 127);
    const Centroids centroids = {quantized.data(), scales.data(), n_centroids, dim};
    const int64_t middle = n / 2, border = n_centroids - 1;   // the second group has one centroid
    const std::vector<int64_t> starts = {0, middle, n}, firsts = {0, border},
                               lasts = {border, n_centroids};
    std::vector<int64_t> rows(n), offsets = {0, n / 3, n / 3, n};
    for (int64_t i = 0; i < n; ++i) rows[i] = n - 1 - i;
    const Groups groups = {rows.data(), starts.data(), firsts.data(), lasts.data(), 2, n};
    std::vector<int32_t> expected(n), nearest(n);
    assign(scalar_kernel(), vectors.data(), n, groups, centroids, expected.data());
    for (const Kernel* kernel : supported_kernels()) {
        assign(*kernel, vectors.data(), n, groups, centroids, nearest.data());
        if (nearest != expected) {
            std::printf("%s assigns otherwise at %d dimensions\n", kernel->name, dim);
            std::exit(1);
        }
    }
    std::vector<uint8_t> packed(n * layout.groups * 4);
    std::vector<uint8_t> gains(n);
    std::vector<float> inverse_norms(n);
    encode(vectors.data(), expected.data(), n, centroids, {values.data(), steps.data(), layout},
           packed.data(), gains.data(), inverse_norms.data());
    std::vector<uint32_t> ends(n_centroids + 1);
    const auto passages = postings(expected.data(), n, offsets.data(), 3, n_centroids, ends.data());
    if (passages.size() != ends.back()) std::exit(1);
}

}  // namespace

int main(int n_arguments, char** arguments) {
    const int rounds = n_arguments > 1 ? std::atoi(arguments[1]) : 100;
    for (const Kernel* kernel : supported_kernels()) std::printf("%s ", kernel->name);
    std::mt19937 random(1);
    size_t agreed = 0;
    for (int round = 0; round < rounds; ++round) {
        const int dims[] = {1, 3, 20, 32, 64, 96, 128, 130};
        const int dim = dims[random() % 8], bits = 1 << random() % 3, n = 1 + random() % 70;
        agreed += compare(random, dim, bits, n, 1 + random() % 12, 40);
        visit_cells(random);
        compress(random);
    }
#ifdef SINGLE_THREADED  // sanitizers make everything slow: there, fewer products start threads
    agreed += compare(random, 128, 4, 70, 200, 100);
#else
    if (n_arguments < 3) agreed += compare(random, 1024, 4, 70, 400, 200);   // starts threads
#endif
    std::printf("%zu values agree\n", agreed);
    return 0;
}
