// SPDX-License-Identifier: Apache-2.0

import jakarta.servlet.ServletException;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.file.Files;
import java.util.logging.Level;
import java.util.logging.Logger;
import org.apache.catalina.connector.Connector;
import org.apache.catalina.connector.Request;
import org.apache.catalina.connector.Response;
import org.apache.catalina.startup.Tomcat;
import org.apache.catalina.valves.ValveBase;
import org.apache.coyote.ActionCode;

/** Tomcat, embedded; a valve answers, so that it can also end the connection. */
public class TomcatServer {
	static class Exchange extends Answer {
		private final Request q;
		private final Response r;

		Exchange(Request q, Response r) {
			this.q = q;
			this.r = r;
		}
		String method() {
			return q.getMethod();
		}
		String target() {
			return q.getRequestURI() + (q.getQueryString() == null ? "" : "?" + q.getQueryString());
		}
		InputStream body() throws IOException {
			return q.getInputStream();
		}
		OutputStream head(int status, long size) throws IOException {
			r.setStatus(status);
			if (size >= 0)
				r.setContentLengthLong(size);
			return r.getOutputStream();
		}
		void done() throws IOException {
			r.finishResponse();
		}
		void cut() {
			q.getCoyoteRequest().action(ActionCode.CLOSE_NOW, new IOException("cut"));
		}
	}

	static class Routes extends ValveBase {
		Routes() {
			super(true);
		}
		@Override
		public void invoke(Request q, Response r) throws IOException, ServletException {
			try {
				new Exchange(q, r).run();
			} catch (InterruptedException e) {
				throw new ServletException(e);
			}
		}
	}

	public static void main(String[] args) throws Exception {
		Logger.getLogger("").setLevel(Level.SEVERE);
		Answer.log = new FileOutputStream(args[1], true);
		Tomcat tomcat = new Tomcat();
		tomcat.setBaseDir(Files.createTempDirectory("tomcat").toString());
		Connector c = new Connector("HTTP/1.1");
		c.setPort(Integer.parseInt(args[0]));
		c.setProperty("address", "127.0.0.1");
		c.setProperty("maxKeepAliveRequests", "-1");
		c.setProperty("connectionTimeout", "60000");
		c.setProperty("acceptCount", "512");
		c.setProperty("maxPostSize", "-1");
		c.setProperty("continueResponseTiming", "onRead"); // no context, whose valve would send it
		tomcat.setConnector(c);
		tomcat.getEngine().getPipeline().addValve(new Routes());
		tomcat.start();
		tomcat.getServer().await();
	}
}
