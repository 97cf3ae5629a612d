// Asks the endpoint a question about an image with OpenAI's client, part by part.
//
//     npm install openai
//     node examples/ask.mjs photo.jpg "what does the sign say?" http://localhost:3000
//
// MPA_KEY holds the caller's key if the service needs one.

import { readFileSync } from "node:fs";
import OpenAI from "openai";

const [image, question, url] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: process.env.MPA_KEY ?? "none" });
const data = `data:;base64,${readFileSync(image).toString("base64")}`;
const content = [
  { type: "text", text: question },
  { type: "image_url", image_url: { url: data } },
];
const stream = await client.chat.completions.create({
  model: "live",
  messages: [{ role: "user", content }],
  stream: true,
  stream_options: { include_usage: true },
});
for await (const chunk of stream) {
  process.stdout.write(chunk.choices[0]?.delta.content ?? "");
  if (chunk.usage) {
    console.log(`  (${chunk.model}, ${chunk.usage.completion_tokens} tokens)`);
  }
}
