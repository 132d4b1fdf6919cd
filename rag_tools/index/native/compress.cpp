#include "compress.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "search.h"

namespace rag_tools {
namespace {

constexpr int64_t kRows = 128;         // tokens, and
constexpr int64_t kCandidates = 512;   // centroids compared at a time: their scores fit the cache

constexpr double kDeviation = 46;      // residual._DEVIATION
constexpr double kNoDeviation = 1e-30;   // residual._NO_DEVIATION

void assign_some(const Kernel& kernel, const float* rows, int n, const Centroids& centroids,
                 int64_t first, int64_t last, float* scores, int32_t* nearest) {
    std::vector<float> best(n, -std::numeric_limits<float>::infinity());
    for (int64_t begin = first; begin < last; begin += kCandidates) {
        const int64_t count = std::min(kCandidates, last - begin);
        const Centroids some = {centroids.quantized + begin * centroids.dim,
                                centroids.scales + begin, count, centroids.dim};
        centroid_scores(kernel, {rows, n, centroids.dim}, some, 1, scores);
        for (int row = 0; row < n; ++row) {
            const float* of_row = scores + row * count;
            for (int64_t i = 0; i < count; ++i) {
                if (of_row[i] > best[row]) {
                    best[row] = of_row[i];
                    nearest[row] = static_cast<int32_t>(begin + i);
                }
            }
        }
    }
}

}  // namespace

void assign(const Kernel& kernel, const float* vectors, int64_t n_vectors, const Groups& groups,
            const Centroids& centroids, int32_t* nearest) {
    const size_t dim = static_cast<size_t>(centroids.dim);
    std::vector<float> rows(kRows * dim), scores(kRows * kCandidates);
    int32_t found[kRows];
    for (int64_t group = 0; group < groups.n; ++group) {
        const int64_t first = groups.firsts[group], last = groups.lasts[group];
        if (first < 0 || first >= last || last > centroids.n)
            throw std::out_of_range("a token's centroids aren't in the codebook");
        if (groups.starts[group] < 0 || groups.starts[group + 1] > groups.n_rows)
            throw std::out_of_range("a group's tokens aren't listed");
        for (int64_t from = groups.starts[group]; from < groups.starts[group + 1]; from += kRows) {
            const int n = static_cast<int>(std::min(kRows, groups.starts[group + 1] - from));
            for (int row = 0; row < n; ++row) {
                const int64_t token = groups.rows[from + row];
                if (token < 0 || token >= n_vectors)
                    throw std::out_of_range("a token isn't among the vectors");
                std::memcpy(rows.data() + row * dim, vectors + token * dim, dim * sizeof(float));
            }
            std::fill_n(found, n, static_cast<int32_t>(first));
            if (last - first > 1)
                assign_some(kernel, rows.data(), n, centroids, first, last, scores.data(), found);
            for (int row = 0; row < n; ++row) nearest[groups.rows[from + row]] = found[row];
        }
    }
}

int packed_groups(int dim, int bits) {
    const int per_group = 4 * (8 / bits);
    return (dim + per_group - 1) / per_group;
}

namespace {

double product(const std::vector<float>& left, const std::vector<float>& right) {
    double sum = 0;
    for (size_t i = 0; i < left.size(); ++i) sum += static_cast<double>(left[i]) * right[i];
    return sum;
}

// See residual.best_gains.
uint8_t best_gain(const std::vector<float>& vector, const std::vector<float>& base,
                  const std::vector<float>& shape) {
    const double with_base = product(vector, base), with_shape = product(vector, shape);
    const double across = product(base, shape);
    const double of_shape = with_shape * product(base, base) - with_base * across;
    const double of_base = with_base * product(shape, shape) - with_shape * across;
    if (!(of_shape > 0 && of_base > 0)) return 0;
    return static_cast<uint8_t>(std::nearbyint(std::min(of_shape / of_base, 255.0)));
}

}  // namespace

void encode(const float* vectors, const int32_t* nearest, int64_t n, const Centroids& centroids,
            const Codec& codec, uint8_t* packed, uint8_t* gains, float* inverse_norms) {
    const int dim = centroids.dim, per_byte = 8 / codec.bits;
    const int groups = packed_groups(dim, codec.bits), cutoffs = (1 << codec.bits) - 1;
    // Beyond the last dimension codes stay zero.
    std::vector<int32_t> codes(static_cast<size_t>(groups) * 4 * per_byte, 0);
    std::vector<float> vector(dim), base(dim), scaled(dim), shape(dim);
    for (int64_t token = 0; token < n; ++token) {
        if (nearest[token] < 0 || nearest[token] >= centroids.n)
            throw std::out_of_range("a token's centroid isn't in the codebook");
        std::copy_n(vectors + token * dim, dim, vector.data());
        const int8_t* quantized = centroids.quantized + static_cast<int64_t>(nearest[token]) * dim;
        const float scale = centroids.scales[nearest[token]];
        for (int i = 0; i < dim; ++i) {
            base[i] = static_cast<float>(quantized[i]) * scale;
            scaled[i] = (vector[i] - base[i]) / codec.steps[i];
            codes[i] = 0;
        }
        const double deviation = std::sqrt(product(scaled, scaled) / dim) / kDeviation;
        const float unit = static_cast<float>(deviation < kNoDeviation ? kNoDeviation : deviation);
        for (int i = 0; i < dim; ++i) scaled[i] /= unit;
        for (int bucket = 0; bucket < cutoffs; ++bucket) {
            const float cutoff =
                static_cast<float>(codec.values[bucket] + codec.values[bucket + 1]) / 2;
            // Not "at least": what isn't a number is in the last bucket, as NumPy sorts it.
            for (int i = 0; i < dim; ++i) codes[i] += !(scaled[i] < cutoff);
        }
        for (int i = 0; i < dim; ++i)
            shape[i] = static_cast<float>(codec.values[codes[i]]) * codec.steps[i];
        gains[token] = best_gain(vector, base, shape);
        double square = 0;
        for (int i = 0; i < dim; ++i) {
            const float residual = shape[i] * static_cast<float>(gains[token]);
            const double restored = base[i] + residual;
            square += restored * restored;
        }
        inverse_norms[token] = static_cast<float>(1 / std::max(std::sqrt(square), 1e-6));
        uint8_t* out = packed + token * groups * 4;
        for (int group = 0; group < groups; ++group) {
            for (int j = 0; j < 4; ++j) {
                int byte = 0;
                for (int i = 0; i < per_byte; ++i)
                    byte |= codes[(group * per_byte + i) * 4 + j] << (i * codec.bits);
                out[group * 4 + j] = static_cast<uint8_t>(byte);
            }
        }
    }
}

std::vector<uint32_t> postings(const int32_t* ids, int64_t n_tokens, const int64_t* token_offsets,
                               int64_t n_passages, int64_t n_ids, uint32_t* offsets) {
    // Count, then place: a passage counts once for an id, however many of its tokens have it.
    std::vector<int64_t> latest(static_cast<size_t>(n_ids), -1);
    std::fill_n(offsets, n_ids + 1, 0u);
    const auto each = [&](const auto& visit) {
        for (int64_t passage = 0; passage < n_passages; ++passage) {
            const int64_t first = token_offsets[passage], last = token_offsets[passage + 1];
            if (first < 0 || last < first || last > n_tokens)
                throw std::out_of_range("a passage's tokens aren't there");
            for (int64_t token = first; token < last; ++token) {
                const int32_t id = ids[token];
                if (id < 0 || id >= n_ids) throw std::out_of_range("an id is too large");
                if (latest[id] != passage) {
                    latest[id] = passage;
                    visit(id, passage);
                }
            }
        }
    };
    each([&](int32_t id, int64_t) { ++offsets[id + 1]; });
    for (int64_t id = 0; id < n_ids; ++id) offsets[id + 1] += offsets[id];
    std::vector<uint32_t> passages(offsets[n_ids]);
    std::vector<uint32_t> next(offsets, offsets + n_ids);
    std::fill(latest.begin(), latest.end(), -1);
    each([&](int32_t id, int64_t passage) {
        passages[next[id]++] = static_cast<uint32_t>(passage);
    });
    return passages;
}

}  // namespace rag_tools
