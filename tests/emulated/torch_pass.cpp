// ViT-Tiny as transformers computes it, by PyTorch's own operators and without Python.
//
// Usage: torch_pass FOLDER, with what prepare() of __main__.py wrote there.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <cmath>
#include <fstream>
#include <iostream>
#include <map>

using at::Tensor;
using Tensors = std::map<std::string, Tensor>;

static Tensors read(const std::string &folder)
{
    Tensors tensors;
    std::ifstream list(folder + "/tensors.txt");
    std::string name;
    for (int64_t dimensions; list >> name >> dimensions;) {
        std::vector<int64_t> shape(dimensions);
        for (auto &side : shape) list >> side;
        Tensor tensor = at::empty(shape, at::kFloat);
        std::ifstream file(folder + "/" + name, std::ios::binary);
        if (!file.read(static_cast<char *>(tensor.data_ptr()), tensor.numel() * 4)) std::abort();
        tensors[name] = tensor;
    }
    return tensors;
}

static Tensor embed(const Tensors &given, const Tensor &image)
{
    const auto linear = [&](const Tensor &x, const std::string &name) {
        return at::linear(x, given.at(name + ".weight"), given.at(name + ".bias"));
    };
    const auto norm = [&](const Tensor &x, const std::string &name) {
        const Tensor &weight = given.at(name + ".weight");
        return at::layer_norm(x, weight.sizes(), weight, given.at(name + ".bias"), 1e-6);
    };
    const auto heads = [](const Tensor &x) {
        return x.view({1, x.size(1), -1, 64}).transpose(1, 2);
    };
    const std::string patch = "embeddings.patch_embeddings.projection";
    Tensor x = at::conv2d(image, given.at(patch + ".weight"), given.at(patch + ".bias"), {16, 16});
    x = at::cat({given.at("embeddings.cls_token"), x.flatten(2).transpose(1, 2)}, 1);
    x = x + given.at("embeddings.position_embeddings");
    for (int layer = 0; layer < 12; layer++) {
        const std::string base = "encoder.layer." + std::to_string(layer);
        const std::string attention = base + ".attention.attention.";
        const Tensor normal = norm(x, base + ".layernorm_before");
        const Tensor query = heads(linear(normal, attention + "query"));
        const Tensor key = heads(linear(normal, attention + "key"));
        const Tensor value = heads(linear(normal, attention + "value"));
        const Tensor seen = at::scaled_dot_product_attention(query, key, value, {}, 0.0, false,
                                                             1.0 / std::sqrt(64.0));
        const Tensor joined = seen.transpose(1, 2).contiguous().reshape(x.sizes());
        x = linear(joined, base + ".attention.output.dense") + x;
        const Tensor inner = linear(norm(x, base + ".layernorm_after"), base + ".intermediate.dense");
        x = linear(at::gelu(inner), base + ".output.dense") + x;
    }
    return norm(x, "layernorm").select(1, 0).contiguous();
}

int main(int count, char **arguments)
{
    if (count != 2) return 2;
    const c10::InferenceMode mode;
    at::set_num_threads(1);
    const std::string folder = arguments[1];
    const Tensors given = read(folder);
    std::cout << "PyTorch computes by " << at::get_cpu_capability() << std::endl;
    std::ofstream out(folder + "/by_torch", std::ios::binary);
    for (const Tensor &image : given.at("images").split(1)) {
        const Tensor vector = embed(given, image);
        out.write(static_cast<const char *>(vector.data_ptr()), vector.numel() * 4);
    }
}
