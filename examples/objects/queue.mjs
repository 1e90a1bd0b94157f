// The same queues from JavaScript: what Python has put comes out here, and the other way round.
//
//     npm install modal@0.11.1
//     node queue.mjs
import { ModalClient } from "modal";

const client = new ModalClient(); // reads MODAL_SERVER_URL, MODAL_TOKEN_ID and MODAL_TOKEN_SECRET

const queue = await client.queues.fromName("objects-from-javascript", { createIfMissing: true });
await queue.put("first");
await queue.putMany([2, { third: true }]);
console.log("in the queue:", await queue.len());
console.log("first:", await queue.get());
console.log("the others:", JSON.stringify(await queue.getMany(5)));

await queue.put("apart", { partition: "p" });
for await (const item of queue.iterate({ partition: "p" })) console.log("seen:", item);
console.log("all together:", await queue.len({ total: true }));
await queue.clear({ all: true });
console.log("cleared:", await queue.len({ total: true }));
await client.queues.delete("objects-from-javascript");
